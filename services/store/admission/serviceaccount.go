package admission

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"navarch.dev/navarch/services/store/access"
)

const (
	defaultAccount = "default"
	// tokenMountPath is where client libraries look for a pod's token.
	tokenMountPath    = "/var/run/secrets/kubernetes.io/serviceaccount"
	tokenVolumePrefix = "kube-api-access-"
	// tokenSeconds is a token's life: an hour, and odd enough to be told from
	// a life that a user has asked for.
	tokenSeconds = 3607
	rootCAName   = "kube-root-ca.crt"
	rootCAFile   = "ca.crt"
)

// A namespace gets its account "default" from a controller, moments after it
// was made: a pod that comes sooner waits for it this often and long.
const (
	accountAttempts = 10
	accountWait     = 100 * time.Millisecond
)

// serviceAccount gives each pod the identity under which it calls the API: an
// account, which must exist, its pull secrets, and a volume with a token, the
// cluster's certificate and the pod's namespace in every container.
type serviceAccount struct {
	noValidation
	reader access.Reader
}

func (p serviceAccount) Mutate(ctx context.Context, r *Request) error {
	pod, ok := r.Object.(*corev1.Pod)
	if !ok || r.Operation != Create || r.Subresource != "" {
		return nil
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return checkMirror(r, pod)
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = defaultAccount
	}
	pod.Spec.DeprecatedServiceAccount = pod.Spec.ServiceAccountName
	account, err := p.account(ctx, r.Namespace, pod.Spec.ServiceAccountName)
	if err != nil {
		return apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(),
			fmt.Errorf("error looking up service account %s/%s: %w", r.Namespace, pod.Spec.ServiceAccountName, err))
	}
	if wantsToken(pod, account) {
		mountToken(&pod.Spec)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = slices.Clone(account.ImagePullSecrets)
	}
	return nil
}

// checkMirror refuses what the image of a static pod cannot have: its node
// runs it whatever the Store says, so it gets nothing of the Store's.
func checkMirror(r *Request, pod *corev1.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(), errors.New("a mirror pod may not reference service accounts"))
	}
	for _, v := range pod.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, source := range v.Projected.Sources {
			if source.ServiceAccountToken != nil {
				return apierrors.NewForbidden(r.Kind.GroupResource(), r.Title(), errors.New("a mirror pod may not use ServiceAccountToken volume projections"))
			}
		}
	}
	return nil
}

// account returns a service account. The default one is waited for.
func (p serviceAccount) account(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	resource := schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
	for attempt := 1; ; attempt++ {
		obj, err := p.reader.Get(ctx, resource, namespace, name)
		if err == nil {
			return obj.(*corev1.ServiceAccount), nil
		}
		switch {
		case !apierrors.IsNotFound(err):
			return nil, err
		case name != defaultAccount || attempt == accountAttempts:
			return nil, apierrors.NewNotFound(corev1.Resource("serviceaccount"), name)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(accountWait):
		}
	}
}

// wantsToken says whether the pod, or else its account, wants a token mounted.
func wantsToken(pod *corev1.Pod, account *corev1.ServiceAccount) bool {
	if want := pod.Spec.AutomountServiceAccountToken; want != nil {
		return *want
	}
	return ptr.Deref(account.AutomountServiceAccountToken, true)
}

// mountToken mounts the token in each container that has nothing at its path.
func mountToken(spec *corev1.PodSpec) {
	name, exists := tokenVolume(spec)
	mounted := false
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			c := &list[i]
			if slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return path.Clean(m.MountPath) == tokenMountPath }) {
				continue
			}
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: name, ReadOnly: true, MountPath: tokenMountPath})
			mounted = true
		}
	}
	if mounted && !exists {
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: name, VolumeSource: tokenSource()})
	}
}

// tokenVolume returns the name of the volume with the token, and whether the
// pod has it already, as one that was copied from a stored pod has.
func tokenVolume(spec *corev1.PodSpec) (name string, exists bool) {
	for _, v := range spec.Volumes {
		if strings.HasPrefix(v.Name, tokenVolumePrefix) {
			return v.Name, true
		}
	}
	// Pods of one template get one name, so that their containers are the same
	// and need to be held only once.
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(spec.ServiceAccountName))
	const suffix = 5
	digits := fmt.Sprintf("%010d", hash.Sum32())
	return tokenVolumePrefix + rand.SafeEncodeString(digits[len(digits)-suffix:]), false
}

func tokenSource() corev1.VolumeSource {
	return corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: ptr.To(corev1.ProjectedVolumeSourceDefaultMode),
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: ptr.To[int64](tokenSeconds)}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: rootCAName},
				Items:                []corev1.KeyToPath{{Key: rootCAFile, Path: rootCAFile}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
				Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
			}}}},
		},
	}}
}
