package runtime

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// writeCgroup writes files of a cgroup below dir.
func writeCgroup(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The devices are such as no machine has, so that they keep their numbers.
func TestAccount(t *testing.T) {
	v1, v2 := t.TempDir(), t.TempDir()
	writeCgroup(t, v1, map[string]string{
		"cpu/pod/cpu.stat":                                    "nr_periods 10\nnr_throttled 4\nthrottled_time 5000\n",
		"cpuacct/pod/cpuacct.usage":                           "7000000000\n",
		"cpuacct/pod/cpuacct.stat":                            "user 500\nsystem 200\n",
		"memory/pod/memory.usage_in_bytes":                    "1000\n",
		"memory/pod/memory.max_usage_in_bytes":                "1500\n",
		"memory/pod/memory.failcnt":                           "3\n",
		"memory/pod/memory.stat":                              "cache 1\ntotal_cache 300\ntotal_rss 600\ntotal_mapped_file 20\ntotal_swap 9\ntotal_inactive_file 100\ntotal_pgfault 77\ntotal_pgmajfault 7\n",
		"memory/pod/memory.oom_control":                       "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
		"memory/pod/cgroup.procs":                             "1\n2\n",
		"pids/pod/pids.current":                               "5\n",
		"blkio/pod/blkio.throttle.io_service_bytes_recursive": "999:9 Read 10\n999:9 Write 20\n999:9 Total 30\n999:10 Read 1\nTotal 31\n",
		"blkio/pod/blkio.throttle.io_serviced_recursive":      "999:9 Read 3\n999:9 Write 4\nnonsense\n999:9 Read many\n",
	})
	writeCgroup(t, v2, map[string]string{
		"pod/cpu.stat":            "usage_usec 7000000\nuser_usec 5000000\nsystem_usec 2000000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 5\n",
		"pod/memory.current":      "1000\n",
		"pod/memory.peak":         "1500\n",
		"pod/memory.stat":         "file 300\nanon 600\nfile_mapped 20\ninactive_file 100\npgfault 77\npgmajfault 7\n",
		"pod/memory.swap.current": "9\n",
		"pod/memory.events":       "low 0\nmax 3\noom_kill 2\n",
		"pod/cgroup.procs":        "1\n2\n",
		"pod/pids.current":        "5\n",
		"pod/cpu.pressure":        "some avg10=1.50 avg60=2.00 avg300=3.25 total=7\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=2\nnonsense\n",
		"pod/io.pressure":         "some avg10=x total=y\nfull avg60=9.00 total=4\n",
		"pod/io.stat":             "999:10 rbytes=1 wbytes=x\n999:9 rbytes=10 wbytes=20 rios=3 wios=4 dbytes=0 dios=0\nnonsense\n",
	})
	controllers := map[string]string{}
	for _, c := range []string{"cpu", "cpuacct", "memory", "pids", "blkio"} {
		controllers[c] = filepath.Join(v1, c)
	}
	want := Account{
		Cgroup: "/pod", Usage: Usage{CPUNanoseconds: 7e9, MemoryBytes: 1000, MemoryWorkingSetBytes: 900, MemoryRSSBytes: 600, Pids: 5},
		CPUUserNanoseconds: 5e9, CPUSystemNanoseconds: 2e9, Periods: 10, ThrottledPeriods: 4, ThrottledNanoseconds: 5000,
		MemoryCacheBytes: 300, MemoryMappedBytes: 20, MemorySwapBytes: 9, MemoryMaxBytes: 1500, MemoryFailures: 3,
		PageFaults: 77, MajorPageFaults: 7, OOMKills: 2, Processes: 2,
		Disks: []DiskAccount{{Device: "999:10", ReadBytes: 1}, {Device: "999:9", ReadBytes: 10, WriteBytes: 20, Reads: 3, Writes: 4}},
	}
	pressure := map[string]*Pressure{"version 2": {
		CPU: Stalls{Some: Stall{7000, 1.5, 2, 3.25}, Full: Stall{Nanoseconds: 2000}},
		IO:  Stalls{Full: Stall{Nanoseconds: 4000, Avg60: 9}},
	}}
	for name, c := range map[string]*cgroups{"version 1": {controllers: controllers}, "version 2": {unified: v2}} {
		want.Pressure = pressure[name]
		got, err := c.account("pod")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Usage{}, "Time")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if _, err := c.account("none"); err == nil {
			t.Errorf("%s: a cgroup that is not there has an account", name)
		}
	}
}

func TestParseInterfaces(t *testing.T) {
	text := `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 12 8 0 0 0 0 0 0 12 8 0 0 0 0 0 0
  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0
eth1:9 0 0 0 0 0 0 0 10 0 0 0 0 0 0 0
 short: 1 2 3
`
	want := []InterfaceAccount{
		{Name: "eth0", ReceiveBytes: 1, ReceivePackets: 2, ReceiveErrors: 3, ReceiveDrops: 4, TransmitBytes: 5, TransmitPackets: 6, TransmitErrors: 7, TransmitDrops: 8},
		{Name: "eth1", ReceiveBytes: 9, TransmitBytes: 10},
	}
	if diff := cmp.Diff(want, parseInterfaces([]byte(text))); diff != "" {
		t.Errorf("interfaces (-want +got):\n%s", diff)
	}
}
