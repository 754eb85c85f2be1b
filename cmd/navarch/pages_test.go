package main

import (
	"os"
	"slices"
	"testing"
)

func TestConstantMappings(t *testing.T) {
	const smaps = `00400000-02731000 r-xp 00000000 fe:00 998                 /bin/navarch
Size:              36036 kB
Anonymous:             0 kB
02731000-04eb4000 r--p 02331000 fe:00 998                 /bin/navarch
Rss:               24396 kB
Anonymous:             0 kB
04eb4000-04f97000 rw-p 04ab4000 fe:00 998                 /bin/navarch
Anonymous:             0 kB
04f97000-04f98000 r--p 04b97000 fe:00 998                 /bin/navarch
Anonymous:             4 kB
05000000-05001000 r--s 00000000 fe:00 998                 /bin/navarch
Anonymous:             0 kB
c000000000-c000400000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xp 00000000 fe:00 999         /lib/other
Anonymous:             0 kB
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0   [vsyscall]
Anonymous:             0 kB
`
	want := []mapping{{0x400000, 0x2731000}, {0x2731000, 0x4eb4000}}
	if got := constantMappings([]byte(smaps), "/bin/navarch"); !slices.Equal(got, want) {
		t.Errorf("got %x, want the code and the constants that were never written: %x", got, want)
	}
}

// The process goes on with its program unmapped.
func TestReleaseProgram(t *testing.T) {
	if err := releaseProgram(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile("/proc/self/smaps"); err != nil {
		t.Error(err)
	}
}
