package stats

import "testing"

func TestMachine(t *testing.T) {
	for in, want := range map[string]uint64{
		"cpu  1 2 3 100 50 4 5 6 7 8\ncpu0 1 2\n": 21 * tick, // neither idle nor waiting, and guests once
		"cpu 1 2 3 100": 6 * tick, // an old kernel
		"cpu0 1 2 3 4":  0,
		"cpu 1 x 3 4":   0,
		"":              0,
	} {
		if got, err := busyTime([]byte(in)); got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
	for in, want := range map[string]uint64{
		"MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable: 400 kB\n": 600 << 10,
		"MemTotal: 1000 kB\nMemAvailable: 2000 kB\n":                0,
		"MemTotal: many kB\n":                                       0,
		"":                                                          0,
	} {
		if got, err := usedMemory([]byte(in)); got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
	if u, err := ReadMachine(); err != nil || u.CPUNanoseconds == 0 || u.MemoryWorkingSetBytes == 0 {
		t.Errorf("this machine: %+v, %v", u, err)
	}
}
