package eviction

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const mib = 1 << 20

// pod is one that asks for some MiB of memory and disk, and has some of either.
func pod(name string, priority int32, asks, has int64) Pod {
	asked := *resource.NewQuantity(asks*mib, resource.BinarySI)
	return Pod{
		Object: &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)},
			Spec: corev1.PodSpec{Priority: &priority, Containers: []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceMemory: asked, corev1.ResourceEphemeralStorage: asked},
			}}}},
		},
		Used: has * mib, Containers: map[string]int64{"main": has * mib},
	}
}

func names(pods []Pod) []string {
	var out []string
	for _, p := range pods {
		out = append(out, p.Object.Name)
	}
	return out
}

func TestCandidates(t *testing.T) {
	static := pod("static", 0, 0, 90)
	static.Object.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	pods := []Pod{
		pod("within", 0, 100, 90), pod("important", 10, 0, 80), pod("small", 0, 0, 10), pod("large", 0, 0, 50), pod("next-to-nothing", 0, 0, 1),
		pod("critical", systemCritical, 0, 90), static, pod("lowest", -1, 0, 20),
	}
	for _, tt := range []struct {
		short Shortage
		want  []string
	}{
		{Shortage{Disk, 0, 100 * mib, 0}, []string{"lowest", "large", "small", "important", "within"}},
		{Shortage{Memory, 99 * mib, 100 * mib, 0}, []string{"lowest", "large", "small", "next-to-nothing", "important", "within"}},
		{Shortage{Inodes, 0, 100 * mib, 0}, []string{"lowest", "within", "large", "small", "important"}}, // none can be asked for
		{Shortage{PIDs, 0, 100 * mib, 0}, []string{"lowest", "within", "large", "small", "important"}},   // nor of these
		{Shortage{Disk, 0, 2000 * mib, 0}, nil},
	} {
		if diff := cmp.Diff(tt.want, names(candidates(tt.short, pods))); diff != "" {
			t.Errorf("short of %+v (-want +got):\n%s", tt.short, diff)
		}
	}
}

func TestMessage(t *testing.T) {
	p := pod("p", 0, 1, 3)
	p.Object.Spec.Containers = append(p.Object.Spec.Containers, corev1.Container{Name: "other"}, corev1.Container{Name: "idle"})
	p.Containers["other"] = 512 << 10
	for s, want := range map[Shortage]string{
		{Disk, 5 * mib, 10 * mib, 0}: "The node was low on resource: ephemeral-storage. Threshold quantity: 10Mi, available: 5Mi. " +
			"Container main was using 3Mi, request is 1Mi, has larger consumption of ephemeral-storage. " +
			"Container other was using 512Ki, request is 0, has larger consumption of ephemeral-storage. ",
		{Memory, 1 << 10, 100 * mib, 0}: "The node was low on resource: memory. Threshold quantity: 100Mi, available: 1Ki. " +
			"Container main was using 3Mi, request is 1Mi, has larger consumption of memory. " +
			"Container other was using 512Ki, request is 0, has larger consumption of memory. ",
	} {
		if got := message(s, p); got != want {
			t.Errorf("short of %+v:\n%s\nwant\n%s", s, got, want)
		}
	}
}

// node is a disk with pods on it. Evicted pods give back what they have when they
// are asked for the second time.
type node struct {
	available, threshold int64
	reclaims             int64
	unused               int64 // what images take that no pod needs
	pods                 []Pod
	evicted              []string
	at                   time.Time     // of the last eviction
	grace                time.Duration // of it
	asked                map[string]int
	failing              error
}

func (n *node) shortages(before []Shortage) []Shortage {
	l := Limits{Least: Thresholds{Disk: {amount: n.threshold}}, Reclaim: Thresholds{Disk: {amount: n.reclaims}}}
	return l.shortOf(map[Signal]level{Disk: {n.available, 1 << 40}}, before)
}

func (n *node) reclaim(context.Context) error {
	n.available, n.unused = n.available+n.unused, 0
	return nil
}

func (n *node) Using(context.Context, Signal) ([]Pod, error) { return n.pods, n.failing }

func (n *node) Evict(_ context.Context, uid string, _ Signal, _ string, grace time.Duration) bool {
	if uid == "ends" {
		return false
	}
	n.evicted, n.at, n.grace = append(n.evicted, uid), time.Now(), grace
	return true
}

func (n *node) Ended(_ context.Context, uid string) bool {
	n.asked[uid]++
	i := slices.IndexFunc(n.pods, func(p Pod) bool { return string(p.Object.UID) == uid })
	if n.asked[uid] < 2 || i < 0 {
		return i < 0
	}
	n.available += n.pods[i].Used
	n.pods = slices.Delete(n.pods, i, i+1)
	return true
}

func TestRun(t *testing.T) {
	for name, tt := range map[string]struct {
		available, unused int64
		reclaims          int64
		failing           error
		pods              []Pod
		want              []string
	}{
		"enough":                     {available: 100, pods: []Pod{pod("a", 0, 0, 50)}},
		"unused images":              {available: 50, unused: 50, pods: []Pod{pod("a", 0, 0, 50)}},
		"one is enough":              {available: 60, pods: []Pod{pod("a", 0, 0, 30), pod("b", 0, 0, 50)}, want: []string{"b"}},
		"two are needed":             {available: 10, pods: []Pod{pod("a", 0, 0, 30), pod("b", 0, 0, 60)}, want: []string{"b", "a"}},
		"more than is needed":        {available: 60, reclaims: 20, pods: []Pod{pod("a", 0, 0, 30), pod("b", 0, 0, 50)}, want: []string{"b", "a"}},
		"unused images are more":     {available: 60, reclaims: 20, unused: 60, pods: []Pod{pod("a", 0, 0, 30)}},
		"enough, if not for more":    {available: 100, reclaims: 20, pods: []Pod{pod("a", 0, 0, 30)}},
		"the first ends already":     {available: 60, pods: []Pod{pod("ends", 0, 0, 70), pod("a", 0, 0, 60)}, want: []string{"a"}},
		"somebody else's":            {available: 10, pods: []Pod{pod("a", 0, 0, 1)}},
		"some could not be measured": {available: 60, failing: errors.New("gone"), pods: []Pod{pod("a", 0, 0, 50)}, want: []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &node{available: tt.available * mib, threshold: 100 * mib, reclaims: tt.reclaims * mib, unused: tt.unused * mib, pods: tt.pods, failing: tt.failing, asked: make(map[string]int)}
				e := &Evictor{Shortages: n.shortages, Reclaim: n.reclaim, Pods: n, Log: slog.New(slog.DiscardHandler)}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				if err := e.Run(ctx); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, n.evicted); diff != "" {
					t.Errorf("evicted (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// What is short by a soft threshold is put up with for its grace period; who goes then
// may take time to do so.
func TestSoftEviction(t *testing.T) {
	const grace, podGrace = 90 * time.Second, 20 * time.Second
	for name, tt := range map[string]struct {
		hard     int64                        // the threshold
		relieved func(at time.Duration) int64 // what else gives back
		want     time.Duration                // after which the pod is evicted, at the next look; 0 is never
		gets     time.Duration
	}{
		"it lasts":       {want: grace, gets: podGrace},
		"it is over":     {relieved: func(at time.Duration) int64 { return min(int64(at/(80*time.Second)), 1) * 100 }},
		"it comes again": {relieved: func(at time.Duration) int64 { return int64(at/(40*time.Second)) % 2 * 100 }},
		"it gets worse":  {hard: 80, relieved: func(at time.Duration) int64 { return -min(int64(at/(30*time.Second)), 1) * 60 }, want: 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				n := &node{pods: []Pod{pod("a", 0, 0, 50)}, asked: make(map[string]int)}
				l := Limits{
					Least: Thresholds{Disk: {amount: tt.hard * mib}}, Soft: Thresholds{Disk: {amount: 100 * mib}},
					Grace: GracePeriods{Disk: grace},
				}
				e := &Evictor{MaxPodGrace: podGrace, Reclaim: n.reclaim, Pods: n, Log: slog.New(slog.DiscardHandler)}
				e.Shortages = func(before []Shortage) []Shortage {
					available := int64(90)
					if tt.relieved != nil {
						available += tt.relieved(time.Since(began))
					}
					return l.shortOf(map[Signal]level{Disk: {available*mib + n.available, 1 << 40}}, before)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				if err := e.Run(ctx); err != nil {
					t.Fatal(err)
				}
				if (tt.want > 0) != (len(n.evicted) == 1) {
					t.Fatalf("evicted %v", n.evicted)
				}
				if late := n.at.Sub(began) - tt.want; tt.want > 0 && (late < 0 || late > interval || n.grace != tt.gets) {
					t.Errorf("evicted after %s with a grace period of %s, want %s and %s", n.at.Sub(began), n.grace, tt.want, tt.gets)
				}
			})
		})
	}
}

func TestMemInfo(t *testing.T) {
	for text, want := range map[string]int64{"MemTotal: 9 kB\nMemAvailable:    2048 kB\n": 2 * mib, "": 0, "MemAvailable: x kB": 0, "MemAvailable:": 0} {
		if got, ok := memInfo([]byte(text), "MemAvailable:"); got != want || ok != (want > 0) {
			t.Errorf("%q has %d, %v", text, got, ok)
		}
	}
}

func TestPIDsLeft(t *testing.T) {
	for _, tt := range []struct {
		limit, load string
		want        level
		ok          bool
	}{
		{"32768\n", "0.1 0.2 0.3 1/768 4711\n", level{32000, 32768}, true},
		{"many", "0.1 0.2 0.3 1/768 4711\n", level{}, false},
		{"32768", "", level{}, false},
		{"32768", "1/x 3", level{}, false},
	} {
		got, ok := pidsLeft([]byte(tt.limit), []byte(tt.load))
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("of %q and %q: %+v, %v", tt.limit, tt.load, got, ok)
		}
	}
}

func TestRead(t *testing.T) {
	all, err := ParseThresholds("memory.available<1,nodefs.available<99%,nodefs.inodesFree<99%,pid.available<1")
	if err != nil {
		t.Fatal(err)
	}
	if short := (Limits{Least: all}).Short(filepath.Join(t.TempDir(), "missing"), nil); len(short) != 0 {
		t.Errorf("a disk that is not there is short of %+v", short)
	}
	if short := (Limits{Least: Thresholds{Memory: {amount: 1 << 60}, PIDs: {amount: 1 << 60}}}).Short(t.TempDir(), nil); len(short) != 2 {
		t.Errorf("short of %+v", short)
	}
}
