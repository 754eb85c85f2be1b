package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

const (
	// defaultTimeout is a Forwarder's timeout.
	defaultTimeout = 2 * time.Second
	// maxForwards is how many questions may be with resolvers at a time.
	maxForwards = 512
)

var (
	errNoResolver = errors.New("the host has no resolver that could be asked")
	errOverload   = errors.New("too many questions are with the resolvers already")
)

// Forwarder asks the host's resolvers. It keeps answers for a short while, and
// asks the same question once at a time: should a resolver send the question
// back here, it joins its own wait, so a loop ends with one timeout.
type Forwarder struct {
	resolvers *resolvConf
	cache     *answerCache
	flights   singleflight.Group
	slots     chan struct{}
	log       *slog.Logger
	// timeout is how long one resolver may take; then the next is asked.
	timeout time.Duration
}

// NewForwarder returns a forwarder to the resolvers that a resolv.conf file
// names, but for the addresses in self, which are the cluster's own. The file
// is read again when it has changed.
func NewForwarder(path string, self []netip.Addr, log *slog.Logger) *Forwarder {
	return &Forwarder{
		resolvers: newResolvConf(path, self),
		cache:     newAnswerCache(),
		slots:     make(chan struct{}, maxForwards),
		log:       log,
		timeout:   defaultTimeout,
	}
}

// Exchange returns a resolver's answer.
func (f *Forwarder) Exchange(ctx context.Context, q Query) (*mdns.Msg, error) {
	q.Name = strings.ToLower(q.Name)
	if answer, ok := f.cache.get(q, time.Now()); ok {
		return answer, nil
	}
	result := f.flights.DoChan(fmt.Sprintf("%s %d %d %t %t", q.Name, q.Qtype, q.Qclass, q.DNSSEC, q.Unchecked), func() (any, error) {
		// Others may have joined, who wait on after this caller has gone.
		flight, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		return f.fly(flight, q)
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*mdns.Msg), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// fly asks one resolver after the other.
func (f *Forwarder) fly(ctx context.Context, q Query) (*mdns.Msg, error) {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	default:
		return nil, errOverload
	}
	addresses, err := f.resolvers.addresses(time.Now())
	if err != nil {
		return nil, err
	}
	err = errNoResolver
	var refusal *mdns.Msg
	for _, address := range addresses {
		answer, askErr := f.ask(ctx, address, q)
		if askErr != nil {
			f.log.DebugContext(ctx, "a resolver did not answer", "resolver", address, "name", q.Name, "error", askErr)
			err = fmt.Errorf("ask resolver %s: %w", address, askErr)
			continue
		}
		if answer.Rcode == mdns.RcodeServerFailure || answer.Rcode == mdns.RcodeRefused {
			refusal = answer
			continue
		}
		f.cache.put(q, answer, time.Now())
		return answer, nil
	}
	if refusal != nil {
		return refusal, nil
	}
	return nil, err
}

// ask puts one question to one resolver, over TCP if a datagram is too small.
func (f *Forwarder) ask(ctx context.Context, address string, q Query) (*mdns.Msg, error) {
	req := new(mdns.Msg)
	req.SetQuestion(q.Name, q.Qtype)
	req.CheckingDisabled = q.Unchecked
	req.SetEdns0(maxUDPSize, q.DNSSEC)
	for _, network := range []string{"udp", "tcp"} {
		client := &mdns.Client{Net: network, Timeout: f.timeout, UDPSize: maxUDPSize}
		answer, _, err := client.ExchangeContext(ctx, req, address)
		if err != nil {
			return nil, err
		}
		if !answers(answer, req) {
			return nil, errors.New("the answer is to another question")
		}
		if !answer.Truncated {
			return answer, nil
		}
	}
	return nil, errors.New("the answer is truncated over TCP")
}

func answers(answer, req *mdns.Msg) bool {
	return len(answer.Question) == 1 && strings.EqualFold(answer.Question[0].Name, req.Question[0].Name) &&
		answer.Question[0].Qtype == req.Question[0].Qtype
}
