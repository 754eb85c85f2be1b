package h2

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestWhoSends has handlers have something to send, on two connections of a server,
// of which one handler's answer goes on and the other's ends.
func TestWhoSends(t *testing.T) {
	type parties struct {
		c, other           *conn
		going, ended, more *stream // more is a handler of other
	}
	for name, tc := range map[string]struct {
		before               func(p parties) // on a server that has been quiet
		wantGoing, wantEnded bool
	}{
		"all is quiet":                   {func(parties) {}, true, true},
		"another connection's has sent":  {func(p parties) { p.other.sendsItself(p.more) }, false, true},
		"another's, but a while ago":     {func(p parties) { p.other.sendsItself(p.more); time.Sleep(pause) }, true, true},
		"another connection's has ended": {func(p parties) { p.more.answered = true; p.other.sendsItself(p.more) }, true, true},
		"the connection was sent on":     {func(p parties) { p.c.wrote = time.Now() }, false, false},
		"by the same handlers":           {func(p parties) { p.c.wrote, p.c.sender = time.Now(), p.ended.id }, false, true},
		"there is much": {func(p parties) {
			p.other.sendsItself(p.more)
			p.c.wrote, p.c.out = time.Now(), make([]byte, muchOut)
		}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer()
				p := parties{c: &conn{server: s}, other: &conn{server: s}}
				p.going, p.ended, p.more = &stream{id: 1}, &stream{id: 3, answered: true}, &stream{id: 1}
				tc.before(p)
				if got := p.c.sendsItself(p.ended); got != tc.wantEnded {
					t.Errorf("the handler whose answer ends sends itself: %t", got)
				}
				if got := p.c.sendsItself(p.going); got != tc.wantGoing {
					t.Errorf("the handler whose answer goes on sends itself: %t", got)
				}
			})
		})
	}
}
