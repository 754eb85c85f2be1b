package podcertificate

import (
	"errors"
	"strings"
	"time"
)

// SignerState is what has become of certificates of one signer: "fresh",
// "overdue_for_refresh", "expired", "not_yet_issued", "denied" or "failed".
type SignerState struct{ Signer, State string }

// States counts the sources of volumes whose certificates are kept.
func (m *Manager) States() map[SignerState]int {
	m.mu.Lock()
	var all []*holder
	for _, sources := range m.holders {
		for _, h := range sources {
			all = append(all, h)
		}
	}
	m.mu.Unlock()
	states := make(map[SignerState]int)
	for _, h := range all {
		states[SignerState{h.wanted.SignerName, h.state(time.Now())}]++
	}
	return states
}

func (h *holder) state(now time.Time) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var refusal *refusedError
	switch c := h.credential; {
	case c != nil && !now.Before(c.Expires):
		return "expired"
	case c != nil && now.After(c.Refresh.Add(overdueAfter)):
		return "overdue_for_refresh"
	case c != nil:
		return "fresh"
	case errors.As(h.problem, &refusal):
		return strings.ToLower(refusal.answer)
	}
	return "not_yet_issued"
}
