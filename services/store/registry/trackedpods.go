package registry

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/lru"

	"navarch.dev/navarch/internal/kinds"
)

const (
	// podsTracked is how many new pods' managed fields are remembered, and
	// longestTracked how many bytes a pod may have to be.
	podsTracked    = 128
	longestTracked = 8 << 10
)

// trackedPods remembers the managed fields of new pods. Pods are what is created
// by the thousand, and those of one origin are the same but for their names: what
// a manager owns of one it owns of all, and finding that out is a good part of
// what a creation costs.
type trackedPods struct {
	entries *lru.Cache // key → []metav1.ManagedFieldsEntry
}

func newTrackedPods() trackedPods { return trackedPods{lru.New(podsTracked)} }

// key is the same for pods of which a writer owns the same fields: for those that
// differ in nothing but in what nobody owns. It is empty for what is no such pod.
func (trackedPods) key(w Write, obj kinds.Object) string {
	pod, ok := obj.(*corev1.Pod)
	if !ok || pod.ManagedFields != nil {
		return ""
	}
	like := corev1.Pod{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec, Status: pod.Status}
	like.Name, like.UID, like.CreationTimestamp = "", types.UID(""), metav1.Time{}
	if like.Size() > longestTracked {
		return ""
	}
	message, err := like.Marshal()
	if err != nil {
		return ""
	}
	return strings.Join([]string{managerName(w), w.Subresource, string(message)}, "\x00")
}

// take gives a pod the managed fields of those with the same key, if there was
// one.
func (t trackedPods) take(key string, obj kinds.Object) bool {
	have, ok := t.entries.Get(key)
	if !ok || key == "" {
		return false
	}
	entries := slices.Clone(have.([]metav1.ManagedFieldsEntry))
	now := metav1.Now().Rfc3339Copy()
	for i := range entries {
		entries[i].FieldsV1 = entries[i].FieldsV1.DeepCopy()
		entries[i].Time = &now
	}
	obj.SetManagedFields(entries)
	return true
}

// add remembers a pod's managed fields.
func (t trackedPods) add(key string, obj kinds.Object) {
	if key == "" {
		return
	}
	entries := slices.Clone(obj.GetManagedFields())
	for i := range entries {
		entries[i].FieldsV1 = entries[i].FieldsV1.DeepCopy()
	}
	t.entries.Add(key, entries)
}
