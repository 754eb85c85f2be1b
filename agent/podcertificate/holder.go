package podcertificate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"navarch.dev/navarch/internal/atomicfile"
)

const (
	// firstRetry and longestRetry bound the wait after a request that got no answer.
	firstRetry   = time.Second
	longestRetry = 2 * time.Minute
	// refreshSpread keeps the pods of a cluster from asking all at once.
	refreshSpread = 5 * time.Minute
	// overdueAfter is how late a renewal may be before users are told.
	overdueAfter = 10 * time.Minute
)

// holder keeps the credential of one source of a volume up to date.
type holder struct {
	m      *Manager
	pod    *corev1.Pod // its name and its account
	wanted *corev1.PodCertificateProjection
	path   string // where the credential is kept; empty is nowhere
	stop   context.CancelFunc
	// settled is closed once there is a credential, or a refusal.
	settled    chan struct{}
	settleOnce sync.Once

	mu         sync.Mutex
	over       bool
	credential *Credential
	problem    error // why there is none
	waiting    int   // how many wait for the first one
	alarms     []*time.Timer
}

// hold begins to keep a credential.
func (m *Manager) hold(pod *corev1.Pod, wanted *corev1.PodCertificateProjection, at source) *holder {
	ctx, stop := context.WithCancel(m.ctx)
	h := &holder{m: m, pod: pod, wanted: wanted, stop: stop, settled: make(chan struct{})}
	h.problem = fmt.Errorf("no certificate of signer %s yet", wanted.SignerName)
	if m.cfg.Dir != "" {
		h.path = filepath.Join(m.cfg.Dir, string(pod.UID), "certificates", at.volume+"."+strconv.Itoa(at.index))
	}
	kept := h.load()
	go h.run(ctx, kept)
	return h
}

// load returns what an earlier agent has kept, nil if there is nothing.
func (h *holder) load() *Credential {
	if h.path == "" {
		return nil
	}
	data, err := os.ReadFile(h.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	kept := &Credential{}
	if err == nil {
		err = json.Unmarshal(data, kept)
	}
	if err != nil {
		h.m.log.Warn("a pod's certificate was not found again, another one is asked for", "file", h.path, "error", err)
		return nil
	}
	h.accept(kept)
	h.settle()
	return kept
}

func (h *holder) run(ctx context.Context, has *Credential) {
	retry := firstRetry
	for {
		if has != nil && !sleep(ctx, time.Until(has.Refresh)+rand.N(refreshSpread)) {
			return
		}
		issued, err := h.request(ctx)
		switch refusal, refused := errors.AsType[*refusedError](err); {
		case ctx.Err() != nil:
			return
		case refused:
			h.refuse(refusal)
			return
		case err != nil && h.gone(ctx):
			h.m.Forget(string(h.pod.UID))
			return
		case err != nil:
			h.setProblem(err)
			h.m.log.WarnContext(ctx, "a pod's certificate was not issued, asking again", "namespace", h.pod.Namespace, "pod", h.pod.Name,
				"signer", h.wanted.SignerName, "wait", retry, "error", err)
			if !sleep(ctx, retry/2+rand.N(retry)) {
				return
			}
			retry = min(2*retry, longestRetry)
			has = nil // it is late already
			continue
		}
		has, retry = issued, firstRetry
		h.take(issued)
	}
}

// gone says whether the pod is there no more: a volume that was being set up when
// its pod was torn down may have asked last.
func (h *holder) gone(ctx context.Context) bool {
	now := &corev1.Pod{}
	err := h.m.client.Get(ctx, h.pod.Namespace, h.pod.Name, now)
	return apierrors.IsNotFound(err) || err == nil && now.UID != h.pod.UID
}

// take makes a new credential the one that the volume shows.
func (h *holder) take(issued *Credential) {
	if err := h.save(issued); err != nil {
		h.m.log.Warn("a pod's certificate was not kept", "namespace", h.pod.Namespace, "pod", h.pod.Name, "error", err)
	}
	if h.accept(issued) {
		h.tell()
	}
}

// tell has the volume brought up to date, unless somebody waits for what it is to
// show.
func (h *holder) tell() {
	h.mu.Lock()
	waited := h.waiting > 0
	h.mu.Unlock()
	h.settle()
	if !waited {
		h.m.changed(string(h.pod.UID))
	}
}

func (h *holder) save(issued *Credential) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.path == "" || h.over {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(h.path), 0o700); err != nil {
		return fmt.Errorf("make the folder of certificates: %w", err)
	}
	data, err := json.Marshal(issued)
	if err != nil {
		return fmt.Errorf("encode the certificate: %w", err)
	}
	return atomicfile.Replace(h.path, data, 0o600)
}

// accept shows a credential to those who ask, unless nobody will any more.
func (h *holder) accept(c *Credential) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return false
	}
	h.credential, h.problem = c, nil
	h.silence()
	h.alarms = []*time.Timer{
		h.warnAt(c.Refresh.Add(overdueAfter), "CertificateOverdueForRefresh", "PodCertificate refresh overdue"),
		h.warnAt(c.Expires, "CertificateExpired", "PodCertificate expired"),
	}
	return true
}

// warnAt tells users that no newer credential has come by a time.
func (h *holder) warnAt(at time.Time, reason, message string) *time.Timer {
	return time.AfterFunc(time.Until(at), func() {
		h.event(reason, fmt.Sprintf("%s: signer %s", message, h.wanted.SignerName))
	})
}

// silence takes the warnings back. The caller holds the lock.
func (h *holder) silence() {
	for _, t := range h.alarms {
		t.Stop()
	}
	h.alarms = nil
}

// refuse notes that the signer has refused. A pod that has a credential keeps it
// for as long as it is good.
func (h *holder) refuse(refusal *refusedError) {
	h.setProblem(refusal)
	h.event(refusal.answer, fmt.Sprintf("PodCertificateRequest %s: reason=%q, message=%q", refusal.request, refusal.reason, refusal.message))
	h.tell()
}

func (h *holder) setProblem(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.problem = err
}

func (h *holder) settle() { h.settleOnce.Do(func() { close(h.settled) }) }

// wait announces that get will be called.
func (h *holder) wait() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting++
}

func (h *holder) get() (Credential, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting--
	if h.credential != nil {
		return *h.credential, nil
	}
	return Credential{}, h.problem
}

func (h *holder) event(reason, message string) {
	h.m.events.EventAt(h.pod, "", corev1.EventTypeWarning, reason, message)
}

// end ends it; nothing is written afterwards.
func (h *holder) end() {
	h.stop()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over, h.credential = true, nil
	h.silence()
}

// sleep waits, and says whether that is not because ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
