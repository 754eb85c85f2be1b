package stats

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

const (
	// shortest and longest bound the window over which usage is averaged.
	shortest = 5 * time.Second
	longest  = 30 * time.Second
	// firstWindow is the window when there was no earlier look.
	firstWindow = time.Second

	nodeKey = "node"
)

func podKey(uid string) string { return "pod/" + uid }

func containerKey(uid, name string) string { return "container/" + uid + "/" + name }

// look is what everything had used of the CPU at one moment, in nanoseconds
// since its start.
type look struct {
	at  time.Time
	cpu map[string]uint64
}

// covers says whether usage since the earlier look is known of everything that
// the present one has. A container that began anew has used less than before.
func (l look) covers(now look) bool {
	for key, used := range now.cpu {
		if before, ok := l.cpu[key]; !ok || before > used {
			return false
		}
	}
	return true
}

// before returns the oldest look that can be compared with the present one.
func (r *Reader) before(now look) (before look, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.looks {
		if age := now.at.Sub(l.at); age >= shortest && age <= longest && l.covers(now) {
			return l, true
		}
	}
	return look{}, false
}

// remember keeps a look for later ones, if none is kept that is as good.
func (r *Reader) remember(l look) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.looks) > 0 && l.at.Sub(r.looks[0].at) > longest {
		r.looks = r.looks[1:]
	}
	if n := len(r.looks); n == 0 || l.at.Sub(r.looks[n-1].at) >= shortest || !r.looks[n-1].covers(l) {
		r.looks = append(r.looks, l)
	}
}

// fillRates sets the usage over the time between two looks. What only one of
// them saw has none.
func fillRates(resp *nodev1.StatsResponse, before, now look) {
	window := now.at.Sub(before.at)
	set := func(u *nodev1.Usage, key string) {
		used, known := before.cpu[key]
		if known && used <= now.cpu[key] && window > 0 {
			u.CpuNanocores = uint64(float64(now.cpu[key]-used) / window.Seconds())
			u.Window = durationpb.New(window)
		}
	}
	set(resp.GetUsage(), nodeKey)
	for _, pod := range resp.GetPods() {
		set(pod.GetUsage(), podKey(pod.GetUid()))
		for _, c := range pod.GetContainers() {
			set(c.GetUsage(), containerKey(pod.GetUid(), c.GetName()))
		}
	}
}
