package eviction

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"navarch.dev/navarch/internal/quantities"
)

// Threshold is the least of something that a node must have left: an amount, or a
// part of all there is. The zero value is no threshold.
type Threshold struct {
	// amount is in bytes or, of inodes and process IDs, how many.
	amount int64
	// percent is of all there is; 0 stands for the amount.
	percent float64
}

// of returns the threshold of something of which there is so much in all.
func (t Threshold) of(total int64) int64 {
	if t.percent > 0 {
		return int64(float64(total) / 100 * t.percent)
	}
	return t.amount
}

// Thresholds are those of a node. A signal without one is not looked at.
type Thresholds map[Signal]Threshold

// GracePeriods are how long less than a soft threshold must have been left.
type GracePeriods map[Signal]time.Duration

// Limits say when a node is short of something, and when no more.
type Limits struct {
	// Least is what must be left: the hard thresholds.
	Least Thresholds
	// Soft is what must be left for longer than Grace; each has one.
	Soft  Thresholds
	Grace GracePeriods
	// Reclaim is how much more must be left for what was short not to be so.
	Reclaim Thresholds
}

// DefaultThresholds is what ParseThresholds makes the usual thresholds of.
const DefaultThresholds = "memory.available<100Mi,nodefs.available<5%,nodefs.inodesFree<5%,pid.available<5%"

// signals are all there are, in the order in which a node sees to them.
var signals = []Signal{Memory, Disk, Inodes, PIDs}

// ParseThresholds reads thresholds as the kubelet's --eviction-hard has them:
// "memory.available<100Mi,nodefs.available<10%". Those that are not named, and those
// of 0 or 0%, are none.
func ParseThresholds(text string) (Thresholds, error) {
	return parse(text, "<", "SIGNAL<QUANTITY, as in memory.available<100Mi or nodefs.available<10%", parseThreshold)
}

// ParseReclaims reads how much is freed beyond the thresholds, as the kubelet's
// --eviction-minimum-reclaim has it: "memory.available=100Mi,nodefs.available=5%".
func ParseReclaims(text string) (Thresholds, error) {
	return parse(text, "=", "SIGNAL=QUANTITY, as in memory.available=100Mi or nodefs.available=5%", parseThreshold)
}

// ParseGracePeriods reads how long soft thresholds may be missed, as the kubelet's
// --eviction-soft-grace-period has it: "memory.available=1m30s".
func ParseGracePeriods(text string) (GracePeriods, error) {
	return parse(text, "=", "SIGNAL=DURATION, as in memory.available=1m30s", func(value string) (time.Duration, error) {
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return 0, fmt.Errorf("%q is not a time above 0, such as 1m30s", value)
		}
		return d, nil
	})
}

func parse[T any](text, separator, form string, read func(string) (T, error)) (map[Signal]T, error) {
	all := make(map[Signal]T)
	if text == "" {
		return all, nil
	}
	for statement := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(statement, separator)
		if !ok {
			return nil, fmt.Errorf("%q is not %s", statement, form)
		}
		signal := Signal(name)
		if !slices.Contains(signals, signal) {
			return nil, fmt.Errorf("%q: there is no signal %q, but %s, %s, %s and %s", statement, name, Memory, Disk, Inodes, PIDs)
		}
		if _, twice := all[signal]; twice {
			return nil, fmt.Errorf("%q: the signal %s is given twice", statement, signal)
		}
		v, err := read(value)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", statement, err)
		}
		all[signal] = v
	}
	return all, nil
}

func parseThreshold(value string) (Threshold, error) {
	if part, ok := strings.CutSuffix(value, "%"); ok {
		percent, err := strconv.ParseFloat(part, 64)
		if err != nil || !(percent >= 0 && percent < 100) {
			return Threshold{}, fmt.Errorf("%q is not a percentage from 0%% to less than 100%%", value)
		}
		return Threshold{percent: percent}, nil
	}
	q, err := quantities.Parse(value)
	switch {
	case err != nil:
		return Threshold{}, fmt.Errorf("%q is neither a quantity, such as 100Mi, nor a percentage: %w", value, err)
	case q.Sign() < 0:
		return Threshold{}, fmt.Errorf("%q is less than 0", value)
	}
	return Threshold{amount: q.Value()}, nil
}
