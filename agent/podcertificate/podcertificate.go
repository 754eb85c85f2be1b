// Package podcertificate gets the certificates that pods' projected volumes ask
// for, and renews them while the pods are there.
//
// For each source that names a signer, the agent makes a key, asks the signer for
// a certificate by a PodCertificateRequest, and waits for the answer:
//
//	ask ──► wait ──► issued ──► (beginRefreshAt) ──► ask ...
//	 ▲       │ └───► denied, failed: for good
//	 └───────┘ removed, or an error: again after a while
//
// A request is watched only while it waits. What was issued is kept in a folder
// in memory, beside the volume that it is in anyway, so that an agent that is
// started anew asks nobody again:
//
//	<dir>/<pod uid>/certificates/<volume>.<source>    JSON of a Credential
package podcertificate

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/internal/client"
	"navarch.dev/navarch/internal/kinds"
)

// patience is how long Get waits for a first answer. Signers that are programs
// answer at once; who waits for others is told what for.
const patience = 10 * time.Second

// Recorder records events about pods.
type Recorder interface {
	EventAt(obj kinds.Object, fieldPath, eventType, reason, message string)
}

// Config says whose pods get certificates, and where they are kept.
type Config struct {
	NodeName string
	// Dir has a folder per pod. Empty: nothing is kept.
	Dir string
}

// Manager has the certificates of a node's pods. It is safe for concurrent use.
type Manager struct {
	ctx     context.Context // ends all requests; set by New for its life
	cfg     Config
	client  *client.Client
	events  Recorder
	changed func(podUID string)
	log     *slog.Logger

	mu      sync.Mutex
	holders map[string]map[source]*holder // by pod UID
}

// source is one source of a projected volume.
type source struct {
	volume string
	index  int
}

// New returns a manager whose requests end with ctx. changed is told which pod
// has got a new certificate.
func New(ctx context.Context, cfg Config, c *client.Client, events Recorder, changed func(podUID string), log *slog.Logger) *Manager {
	return &Manager{ctx: ctx, cfg: cfg, client: c, events: events, changed: changed, log: log, holders: make(map[string]map[source]*holder)}
}

// Get returns what one source of a pod's projected volume shows. The first call
// begins to ask for all of the pod's certificates. While there is none, Get waits
// for a moment and then returns an error that says what there is to wait for.
func (m *Manager) Get(ctx context.Context, pod *corev1.Pod, volume string, index int) (Credential, error) {
	h := m.begin(pod)[source{volume, index}]
	if h == nil {
		return Credential{}, fmt.Errorf("source %d of volume %q is no podCertificate", index, volume)
	}
	h.wait()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-h.settled:
	case <-timer.C:
	case <-ctx.Done():
	}
	return h.get()
}

// begin begins to ask for a pod's certificates, unless that goes on already.
func (m *Manager) begin(pod *corev1.Pod) map[source]*holder {
	m.mu.Lock()
	defer m.mu.Unlock()
	if all, ok := m.holders[string(pod.UID)]; ok {
		return all
	}
	// The pod itself may be much larger than what is needed of it.
	named := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}}
	named.Spec.ServiceAccountName = pod.Spec.ServiceAccountName
	all := make(map[source]*holder)
	for _, v := range pod.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for i := range v.Projected.Sources {
			if wanted := v.Projected.Sources[i].PodCertificate; wanted != nil {
				at := source{v.Name, i}
				all[at] = m.hold(named, wanted.DeepCopy(), at)
			}
		}
	}
	m.holders[string(pod.UID)] = all
	return all
}

// Forget ends what goes on for a pod, and forgets its keys. The files go with the
// pod's folder, which nobody writes to afterwards.
func (m *Manager) Forget(podUID string) {
	m.mu.Lock()
	all := m.holders[podUID]
	delete(m.holders, podUID)
	m.mu.Unlock()
	for _, h := range all {
		h.end()
	}
}
