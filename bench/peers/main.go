// Command peers prints Navarch's speed and memory beside those of the real
// kube-apiserver. Both serve the same certificates on an etcd of their own
// that has the same settings, the same client program asks both, and they take
// turns within one run, so that the machine's other load falls on both.
//
// It is a module of its own: kube-apiserver and all that it needs stay out of
// the product's go.mod. `make bench-peers` builds the programs and runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
)

// options are what the command line says.
type options struct {
	rows   *regexp.Regexp
	rounds int
	binDir string
	dir    string
	scale  scale
}

// scale is how much work the rows do.
type scale struct {
	listed   int // pods in the listed namespace
	held     int // pods that are held when memory is measured
	watchers int // watchers of one namespace
	rate     int // writes per second that they all see
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// row is one or several lines of the table.
type row struct {
	name    string
	measure func(ctx context.Context, p *peers) ([]line, error)
}

// allRows are in their order: the ones that leave many objects behind are last.
func allRows() []row {
	return []row{
		{"idle", measureIdle},
		{"operations", measureOperations},
		{"latency", measureLatency},
		{"fanout", measureFanOut},
		{"lists", measureLists},
		{"held", measureHeld},
	}
}

func run(ctx context.Context) (err error) {
	o, err := parseOptions()
	if err != nil {
		return err
	}
	p, err := start(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	var lines []line
	for _, r := range allRows() {
		if !o.rows.MatchString(r.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring %s …\n", r.name)
		more, err := r.measure(ctx, p)
		if err != nil {
			return fmt.Errorf("measure %s: %w", r.name, err)
		}
		lines = append(lines, more...)
	}
	return writeTable(os.Stdout, lines)
}

func parseOptions() (options, error) {
	var o options
	rows := flag.String("run", ".", "regular expression of the rows to measure")
	flag.IntVar(&o.rounds, "rounds", 3, "how many rounds of each measurement")
	flag.StringVar(&o.binDir, "bin", "bin", "folder of the built programs")
	flag.StringVar(&o.dir, "dir", os.TempDir(), "where the data folders go; the disk that is measured")
	flag.IntVar(&o.scale.listed, "listed", 5000, "pods in a LIST")
	flag.IntVar(&o.scale.held, "held", 50000, "pods held when memory is measured")
	flag.IntVar(&o.scale.watchers, "watchers", 1000, "watchers in the fan-out")
	flag.IntVar(&o.scale.rate, "rate", 10, "writes per second in the fan-out; every watcher gets each")
	flag.Parse()
	var err error
	if o.rows, err = regexp.Compile(*rows); err != nil {
		return o, fmt.Errorf("flag -run: %w", err)
	}
	for name, n := range map[string]int{
		"rounds": o.rounds, "listed": o.scale.listed, "held": o.scale.held, "watchers": o.scale.watchers, "rate": o.scale.rate,
	} {
		if n < 1 {
			return o, fmt.Errorf("flag -%s: %d must be at least 1", name, n)
		}
	}
	return o, nil
}
