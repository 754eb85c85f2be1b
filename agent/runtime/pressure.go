package runtime

import (
	"path/filepath"
	"strconv"
	"strings"
)

// Pressure is for how long processes have waited for what others had: the kernel's
// pressure stall information.
type Pressure struct{ CPU, Memory, IO Stalls }

// Stalls are times in which some processes waited, and in which all of them did.
type Stalls struct{ Some, Full Stall }

// Stall is how long, since the beginning, and the percentages of the last 10, 60
// and 300 seconds.
type Stall struct {
	Nanoseconds          uint64
	Avg10, Avg60, Avg300 float64
}

// ReadPressure reads that of the whole machine; nil if the kernel does not tell.
func ReadPressure() *Pressure { return readPressure("/proc/pressure", "") }

// readPressure reads the files cpu, memory and io of a folder, with a suffix; nil
// if the kernel does not tell.
func readPressure(dir, suffix string) *Pressure {
	cpu := readFile(filepath.Join(dir, "cpu"+suffix))
	if len(cpu) == 0 { // not there, or switched off: then it cannot be read
		return nil
	}
	return &Pressure{
		CPU:    parseStalls(string(cpu)),
		Memory: parseStalls(string(readFile(filepath.Join(dir, "memory"+suffix)))),
		IO:     parseStalls(string(readFile(filepath.Join(dir, "io"+suffix)))),
	}
}

// parseStalls reads lines
//
//	some avg10=0.00 avg60=0.00 avg300=0.00 total=0
//	full avg10=0.00 avg60=0.00 avg300=0.00 total=0
//
// of percentages and microseconds.
func parseStalls(text string) Stalls {
	var s Stalls
	into := map[string]*Stall{"some": &s.Some, "full": &s.Full}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || into[words[0]] == nil {
			continue
		}
		stall := into[words[0]]
		averages := map[string]*float64{"avg10": &stall.Avg10, "avg60": &stall.Avg60, "avg300": &stall.Avg300}
		for _, word := range words[1:] {
			key, value, _ := strings.Cut(word, "=")
			if average := averages[key]; average != nil {
				*average, _ = strconv.ParseFloat(value, 64)
			} else if key == "total" {
				microseconds, _ := strconv.ParseUint(value, 10, 64)
				stall.Nanoseconds = microseconds * 1000
			}
		}
	}
	return s
}
