// Package flowcontrol keeps the Store from serving more requests at a time than
// it can, and decides who waits: API Priority and Fairness (KEP-1040).
//
// A request is classified by the first FlowSchema that is about it (package
// matching), and so belongs to a flow of a priority level. It runs once it has
// one of the level's seats (package fairqueue), of which package shares says how
// many there are.
//
//	request ─▶ Classify ─▶ Flow ─▶ Try, Wait ─▶ Seat ─▶ … ─▶ Release
//	              │                  │
//	            plan ◀── Configure   └▶ 429, Retry-After
//	              ▲
//	FlowSchemas, PriorityLevelConfigurations
//
// Whoever serves requests reads the plan with one atomic load. It is made anew
// when the objects change; levels and counts outlive it.
package flowcontrol

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"
)

// Config is how many requests are served at a time.
type Config struct {
	// Enabled says that FlowSchemas and PriorityLevelConfigurations decide. If
	// not, the two limits below are each for itself, and what is beyond them is
	// refused.
	Enabled bool
	// MaxRequests and MaxMutating are, together, the seats of all priority
	// levels. Without priority levels they are how many requests that read, and
	// that change something, are served at a time; 0 is any number.
	MaxRequests, MaxMutating int
}

// DefaultConfig returns Kubernetes' defaults.
func DefaultConfig() Config { return Config{Enabled: true, MaxRequests: 400, MaxMutating: 200} }

// AddFlags registers a flag for every setting, with c's values as defaults.
func (c *Config) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&c.Enabled, "enable-priority-and-fairness", c.Enabled, "let FlowSchemas and PriorityLevelConfigurations decide which requests wait or are refused")
	fs.IntVar(&c.MaxRequests, "max-requests-inflight", c.MaxRequests,
		"with --max-mutating-requests-inflight, how many requests are served at a time; without priority and fairness, how many that only read (0: any number)")
	fs.IntVar(&c.MaxMutating, "max-mutating-requests-inflight", c.MaxMutating,
		"with --max-requests-inflight, how many requests are served at a time; without priority and fairness, how many that change something (0: any number)")
}

// Validate says what is wrong with the settings.
func (c *Config) Validate() error {
	var errs []error
	if c.MaxRequests < 0 {
		errs = append(errs, fmt.Errorf("--max-requests-inflight %d must not be negative", c.MaxRequests))
	}
	if c.MaxMutating < 0 {
		errs = append(errs, fmt.Errorf("--max-mutating-requests-inflight %d must not be negative", c.MaxMutating))
	}
	if c.Enabled && len(errs) == 0 && c.seats() == 0 {
		errs = append(errs, errors.New("--max-requests-inflight and --max-mutating-requests-inflight must not both be 0 with --enable-priority-and-fairness"))
	}
	return errors.Join(errs...)
}

// seats are those of all priority levels.
func (c *Config) seats() int { return c.MaxRequests + c.MaxMutating }
