package eviction

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestThresholds(t *testing.T) {
	// Of each there are 1000 in all, 100 of which are left.
	levels := map[Signal]level{Memory: {100, 1000}, Disk: {100, 1000}, Inodes: {100, 1000}, PIDs: {100, 1000}}
	for text, want := range map[string][]Shortage{
		"":                       nil,
		"memory.available<100":   nil,
		"memory.available<101":   {{Memory, 100, 101, 0}},
		"nodefs.available<10%":   nil,
		"nodefs.available<10.5%": {{Disk, 100, 105, 0}},
		"nodefs.inodesFree<1k,memory.available<1Ki":         {{Memory, 100, 1024, 0}, {Inodes, 100, 1000, 0}},
		"pid.available<20%,nodefs.available<0%":             {{PIDs, 100, 200, 0}},
		"memory.available<0,nodefs.inodesFree<99.9%":        {{Inodes, 100, 999, 0}},
		"nodefs.available<5%,nodefs.inodesFree<5%":          nil,
		strings.ReplaceAll(DefaultThresholds, "100Mi", "1"): nil,
	} {
		all, err := ParseThresholds(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, (Limits{Least: all}).shortOf(levels, nil)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
}

func TestMalformedThresholds(t *testing.T) {
	for text, want := range map[string]string{
		"memory.available": `"memory.available" is not SIGNAL<QUANTITY, as in memory.available<100Mi or nodefs.available<10%`,
		"memory.free<1Mi": `"memory.free<1Mi": there is no signal "memory.free", ` +
			`but memory.available, nodefs.available, nodefs.inodesFree and pid.available`,
		"pid.available<1,":                            `"" is not SIGNAL<QUANTITY`,
		"pid.available<1,pid.available<2":             `"pid.available<2": the signal pid.available is given twice`,
		"memory.available<100%":                       `"memory.available<100%": "100%" is not a percentage from 0% to less than 100%`,
		"memory.available<-1%":                        `"-1%" is not a percentage`,
		"memory.available<NaN%":                       `"NaN%" is not a percentage`,
		"memory.available<%":                          `"%" is not a percentage`,
		"memory.available<-1Mi":                       `"memory.available<-1Mi": "-1Mi" is less than 0`,
		"memory.available<1e-999999999":               `the exponent of quantity "1e-999999999" has more than 3 digits`,
		"memory.available<much":                       `"memory.available<much": "much" is neither a quantity, such as 100Mi, nor a percentage: quantities must match`,
		"memory.available < 1Mi":                      `there is no signal "memory.available "`,
		"nodefs.available<5%,imagefs.available<15%":   `there is no signal "imagefs.available"`,
		"nodefs.available<=5%":                        `"=5%" is not a percentage`,
		strings.Repeat("memory.available<1Mi;", 1000): "is neither a quantity",
	} {
		if _, err := ParseThresholds(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
}

func TestReclaims(t *testing.T) {
	least, err := ParseThresholds("memory.available<100,nodefs.available<10%")
	if err != nil {
		t.Fatal(err)
	}
	more, err := ParseReclaims("memory.available=50,nodefs.available=5%,pid.available=1")
	if err != nil {
		t.Fatal(err)
	}
	l := Limits{Least: least, Reclaim: more}
	levels := map[Signal]level{Memory: {120, 1000}, Disk: {120, 1000}, PIDs: {0, 1000}}
	if short := l.shortOf(levels, nil); len(short) != 0 {
		t.Errorf("short of %+v, where nothing was", short)
	}
	before := []Shortage{{Signal: Memory}, {Signal: Disk}, {Signal: PIDs}}
	if diff := cmp.Diff([]Shortage{{Memory, 120, 150, 0}, {Disk, 120, 150, 0}}, l.shortOf(levels, before)); diff != "" {
		t.Errorf("after a shortage (-want +got):\n%s", diff)
	}
	if _, err := ParseReclaims("memory.available<50"); err == nil || !strings.Contains(err.Error(), "is not SIGNAL=QUANTITY") {
		t.Errorf("error = %v", err)
	}
}

func TestSoftThresholds(t *testing.T) {
	l := Limits{
		Least: Thresholds{Memory: {amount: 100}, Disk: {amount: 100}},
		Soft:  Thresholds{Memory: {amount: 200}, Disk: {amount: 200}, PIDs: {amount: 200}},
		Grace: GracePeriods{Memory: time.Minute, Disk: time.Hour, PIDs: time.Second}, Reclaim: Thresholds{Memory: {amount: 20}},
	}
	for _, tt := range []struct {
		name   string
		left   int64 // of each
		before []Shortage
		want   []Shortage
	}{
		{name: "enough", left: 200},
		{name: "less than soft thresholds", left: 199, want: []Shortage{{Memory, 199, 200, time.Minute}, {Disk, 199, 200, time.Hour}, {PIDs, 199, 200, time.Second}}},
		{name: "less than hard ones", left: 99, want: []Shortage{{Memory, 99, 100, 0}, {Disk, 99, 100, 0}, {PIDs, 99, 200, time.Second}}},
		{name: "not enough more", left: 210, before: []Shortage{{Memory, 0, 0, time.Minute}}, want: []Shortage{{Memory, 210, 220, time.Minute}}},
		{name: "a hard one was not missed", left: 110, before: []Shortage{{Memory, 0, 0, time.Minute}},
			want: []Shortage{{Memory, 110, 220, time.Minute}, {Disk, 110, 200, time.Hour}, {PIDs, 110, 200, time.Second}}},
	} {
		levels := map[Signal]level{Memory: {tt.left, 1000}, Disk: {tt.left, 1000}, PIDs: {tt.left, 1000}}
		if diff := cmp.Diff(tt.want, l.shortOf(levels, tt.before)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func FuzzParseThresholds(f *testing.F) {
	for _, seed := range []string{DefaultThresholds, "", "memory.available<1e3,pid.available<0.5%", "a<b", "<", "%", "nodefs.available<1e-400%", "memory.available<1e-999999999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ParseThresholds(text)
		if err != nil {
			return
		}
		for signal, threshold := range all {
			const total = 1 << 40
			if n := threshold.of(total); n < 0 || threshold.percent > 0 && n >= total {
				t.Errorf("%q: of %d %s at least %d", text, total, signal, n)
			}
		}
	})
}
