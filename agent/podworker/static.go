package podworker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"navarch.dev/navarch/internal/client"
)

const (
	sourceAnnotation = "kubernetes.io/config.source"
	hashAnnotation   = "kubernetes.io/config.hash"
	maxManifest      = 1 << 20
)

// readStatic reads the pods of the folder of static pods. A file that is not
// a pod is reported and left out.
func (m *Manager) readStatic(ctx context.Context) ([]*corev1.Pod, error) {
	if m.cfg.StaticPodDir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(m.cfg.StaticPodDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the static pods: %w", err)
	}
	var pods []*corev1.Pod
	for _, e := range entries {
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(m.cfg.StaticPodDir, e.Name())
		b, err := os.ReadFile(path)
		if err == nil {
			var pod *corev1.Pod
			if pod, err = m.parseStatic(b); err == nil {
				pods = append(pods, pod)
				continue
			}
		}
		m.deps.Log.WarnContext(ctx, "a static pod is not usable", "file", path, "error", err)
	}
	return pods, nil
}

// parseStatic makes the pod of a manifest: its name ends with the node's, its
// UID is made from its content.
func (m *Manager) parseStatic(b []byte) (*corev1.Pod, error) {
	if len(b) > maxManifest {
		return nil, fmt.Errorf("the manifest is longer than %d bytes", maxManifest)
	}
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(b, pod); err != nil {
		return nil, fmt.Errorf("read the manifest: %w", err)
	}
	if pod.Kind != "Pod" || pod.Name == "" || len(pod.Spec.Containers) == 0 {
		return nil, errors.New("the manifest is not that of a pod with a name and containers")
	}
	if slices.ContainsFunc(pod.Spec.Volumes, needsItsStoredSelf) {
		return nil, errors.New("static pods may not use clusterTrustBundle or podCertificate projected volume sources")
	}
	pod.TypeMeta = metav1.TypeMeta{}
	sum := sha256.Sum256(append(b, m.cfg.NodeName...))
	hash := hex.EncodeToString(sum[:16])
	pod.UID = types.UID(hash)
	pod.Name += "-" + strings.ToLower(m.cfg.NodeName)
	if pod.Namespace == "" {
		pod.Namespace = metav1.NamespaceDefault
	}
	if pod.Annotations == nil {
		pod.Annotations = make(map[string]string)
	}
	pod.Annotations[sourceAnnotation], pod.Annotations[hashAnnotation] = "file", hash
	pod.Spec.NodeName = m.cfg.NodeName
	if pod.Spec.RestartPolicy == "" {
		pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
	}
	// A static pod stays when its node is not ready.
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending}
	return pod, nil
}

// needsItsStoredSelf says whether a volume has what only a pod gets that was made
// in the Store.
func needsItsStoredSelf(v corev1.Volume) bool {
	return v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s corev1.VolumeProjection) bool {
		return s.ClusterTrustBundle != nil || s.PodCertificate != nil
	})
}

// syncStatic makes the static pods be those of the folder.
func (m *Manager) syncStatic(ctx context.Context) {
	pods, err := m.readStatic(ctx)
	if err != nil {
		m.deps.Log.WarnContext(ctx, "the static pods cannot be read", "error", err)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	wanted := make(map[string]bool)
	for _, pod := range pods {
		wanted[string(pod.UID)] = true
	}
	for uid, w := range m.workers {
		if w.static && !wanted[uid] {
			go w.send(func() { w.deleted = true })
		}
	}
	for _, pod := range pods {
		if _, ok := m.workers[string(pod.UID)]; ok {
			continue
		}
		if old := m.staticNamed(pod); old != nil {
			m.waiting[old.uid] = pod // begins when the old one has ended
			continue
		}
		m.start(pod, true, remains{})
	}
}

// staticNamed returns the worker of a static pod of the same name. The caller
// holds the lock.
func (m *Manager) staticNamed(pod *corev1.Pod) *worker {
	for _, w := range m.workers {
		if w.static && w.pod.Name == pod.Name && w.pod.Namespace == pod.Namespace {
			return w
		}
	}
	return nil
}

// mirrorChanged gives the Store's image of a static pod to its worker; one
// that is not the image of a present pod is removed. The caller holds the
// lock.
func (m *Manager) mirrorChanged(mirror *corev1.Pod) {
	w, ok := m.workers[mirror.Annotations[mirrorAnnotation]]
	if ok && mirror.DeletionTimestamp == nil {
		go w.send(func() { w.update(mirror) })
		return
	}
	go func() {
		if err := m.deleteMirror(m.ctx, mirror); err != nil {
			m.deps.Log.WarnContext(m.ctx, "a mirror pod was not removed", "namespace", mirror.Namespace, "pod", mirror.Name, "error", err)
		}
	}()
}

// mirrorDeleted makes the worker put its image into the Store again.
func (m *Manager) mirrorDeleted(mirror *corev1.Pod) {
	if w, ok := m.workers[mirror.Annotations[mirrorAnnotation]]; ok {
		go w.send(func() {
			w.mirror, w.written = nil, nil
			w.makeMirror()
		})
	}
}

func (m *Manager) deleteMirror(ctx context.Context, mirror *corev1.Pod) error {
	zero := int64(0)
	err := m.deps.Client.Delete(ctx, mirror, client.DeleteOptions{GracePeriodSeconds: &zero, UID: mirror.UID})
	if err != nil && !gone(err) {
		return fmt.Errorf("delete the mirror pod: %w", err)
	}
	return nil
}

// makeMirror shows a static pod in the Store.
func (w *worker) makeMirror() {
	if !w.static || w.mirror != nil || w.phase >= phaseStopping {
		return
	}
	mirror := w.pod.DeepCopy()
	mirror.UID, mirror.ResourceVersion = "", ""
	mirror.Annotations[mirrorAnnotation] = w.uid
	ctx := w.ctx
	w.operate(func() func() {
		err := w.m.ownByNode(ctx, mirror)
		if err == nil {
			err = w.m.deps.Client.Create(ctx, mirror)
		}
		if apierrors.IsAlreadyExists(err) {
			fresh := &corev1.Pod{}
			if err = w.m.deps.Client.Get(ctx, mirror.Namespace, mirror.Name, fresh); err == nil {
				mirror = fresh
			}
		}
		return func() {
			if err == nil && mirror.Annotations[mirrorAnnotation] == w.uid {
				w.mirror = mirror
				return
			}
			w.log.WarnContext(ctx, "the mirror pod was not made, trying again", "error", err)
			time.AfterFunc(5*time.Second, func() { w.send(w.makeMirror) })
		}
	})
}

// ownByNode makes the node the owner of a mirror pod, so that it goes with it.
func (m *Manager) ownByNode(ctx context.Context, mirror *corev1.Pod) error {
	node := &corev1.Node{}
	if err := m.deps.Client.Get(ctx, "", m.cfg.NodeName, node); err != nil {
		return fmt.Errorf("find the mirror pod's owner: %w", err)
	}
	mirror.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(node, corev1.SchemeGroupVersion.WithKind("Node"))}
	mirror.OwnerReferences[0].BlockOwnerDeletion = nil
	return nil
}

func (w *worker) removeMirror() {
	if w.mirror == nil {
		return
	}
	if err := w.m.deleteMirror(context.WithoutCancel(w.ctx), w.mirror); err != nil {
		w.log.WarnContext(w.ctx, "the mirror pod was not removed", "error", err)
	}
}
