package dns

import (
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	maxCached = 8192
	// Answers are kept for at most this long, denials for at most that.
	maxPositive = 30 * time.Second
	maxNegative = 5 * time.Second
)

// answerCache keeps the answers of resolvers.
type answerCache struct {
	mu      sync.Mutex
	entries map[Query]cached
}

type cached struct {
	answer        *mdns.Msg
	stored, until time.Time
}

func newAnswerCache() *answerCache {
	return &answerCache{entries: make(map[Query]cached)}
}

// get returns a kept answer, its times to live lowered by its age.
func (c *answerCache) get(q Query, now time.Time) (*mdns.Msg, bool) {
	c.mu.Lock()
	e, ok := c.entries[q]
	if ok && !now.Before(e.until) {
		delete(c.entries, q)
		ok = false
	}
	c.mu.Unlock()
	if !ok {
		return nil, false
	}
	answer := e.answer.Copy()
	age := uint32(now.Sub(e.stored) / time.Second)
	for _, section := range [][]mdns.RR{answer.Answer, answer.Ns, answer.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != mdns.TypeOPT {
				h.Ttl -= min(age, h.Ttl)
			}
		}
	}
	return answer, true
}

func (c *answerCache) put(q Query, answer *mdns.Msg, now time.Time) {
	keep := lifetime(answer)
	if keep <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.entries) >= maxCached {
		c.makeRoom(now)
	}
	c.entries[q] = cached{answer: answer, stored: now, until: now.Add(keep)}
}

// makeRoom drops what has expired or, failing that, something; c.mu is held.
func (c *answerCache) makeRoom(now time.Time) {
	var any Query
	for q, e := range c.entries {
		if any = q; !now.Before(e.until) {
			delete(c.entries, q)
		}
	}
	if len(c.entries) >= maxCached {
		delete(c.entries, any)
	}
}

// lifetime is how long an answer may be kept.
func lifetime(answer *mdns.Msg) time.Duration {
	switch {
	case answer.Rcode == mdns.RcodeNameError, answer.Rcode == mdns.RcodeSuccess && len(answer.Answer) == 0:
		return denialLifetime(answer)
	case answer.Rcode != mdns.RcodeSuccess:
		return 0
	}
	keep := maxPositive
	for _, rr := range answer.Answer {
		keep = min(keep, time.Duration(rr.Header().Ttl)*time.Second)
	}
	return keep
}

// denialLifetime is what the zone's authority allows; without one, a denial is
// not to be kept.
func denialLifetime(answer *mdns.Msg) time.Duration {
	for _, rr := range answer.Ns {
		if soa, ok := rr.(*mdns.SOA); ok {
			return min(maxNegative, time.Duration(min(soa.Hdr.Ttl, soa.Minttl))*time.Second)
		}
	}
	return 0
}
