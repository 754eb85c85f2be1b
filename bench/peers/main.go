// Command peers prints Navarch's speed and memory beside those of the real
// Kubernetes programs: kube-apiserver, and for what pods' placement is about
// kube-scheduler and kube-controller-manager too. Both sides have the same
// certificates, and an etcd of their own with the same settings; the same client
// program asks both, and they take turns within one run, so that the machine's
// other load falls on both.
//
// It is a module of its own: Kubernetes and all that it needs stay out of
// the product's go.mod. `make bench-peers` builds the programs and runs it.
//
// With -manifests it compares the two sides' answers instead: it has both create
// and apply the objects of other projects' manifests, and tells what differs.
//
// It exits with 0 if every target that was measured is met, with 3 if one was
// missed or answers differ, and with 1 if something could not be measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// exitMissed is the exit code of a run that missed a target.
const exitMissed = 3

// options are what the command line says.
type options struct {
	rows   *regexp.Regexp // nil: all but those on demand
	rounds int
	only   string // the side that is measured alone, or ""
	binDir string
	dir    string
	keep   bool
	scale  scale
	// manifests are folders whose objects are sent to both sides, instead of
	// measuring.
	manifests []string
	edits     int    // requests with edited objects; 0: objects as they are
	seed      uint64 // of the edits
}

// scale is how much work the rows do.
type scale struct {
	listed   int // pods in the listed namespace
	held     int // pods that are held when memory is measured
	watchers int // watchers of one namespace
	rate     int // writes per second that they all see
	// scattered is writes per second to the namespaces that the watchers watch.
	scattered int
	bound     int // pods that are bound in a round
	largest   int // pods in the row of the large cluster
}

func main() { os.Exit(exitCode()) }

func exitCode() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	missed, err := run(ctx)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "peers:", err)
		return 1
	case missed > 0:
		fmt.Fprintf(os.Stderr, "peers: %d targets are missed, or answers differ\n", missed)
		return exitMissed
	}
	return 0
}

// row is one or several lines of the table.
type row struct {
	name     string
	services arrangement
	measure  func(ctx context.Context, p *peers) ([]line, error)
	// onDemand is a row that takes long: it is measured only if it is asked for.
	onDemand bool
}

// allRows are in their order: the ones that leave many objects behind are last.
func allRows() []row {
	rows := []row{
		{name: "cycle", services: none, measure: measureCycle},
		{name: "idle", services: apiOnly, measure: measureIdle},
		{name: "operations", services: apiOnly, measure: measureOperations},
		{name: "latency", services: apiOnly, measure: measureLatency},
		{name: "fanout", services: apiOnly, measure: measureFanOut},
		{name: "scattered", services: apiOnly, measure: measureScattered},
		{name: "lists", services: apiOnly, measure: measureLists},
		{name: "held", services: apiOnly, measure: measureHeld},
	}
	for _, w := range workloads() {
		rows = append(rows, row{name: w.row, services: full, measure: w.measure})
	}
	return append(rows, row{name: "large", services: full, measure: measureLarge, onDemand: true})
}

// wanted says whether a row is to be measured.
func (o *options) wanted(r row) bool {
	if o.rows == nil {
		return !r.onDemand
	}
	return o.rows.MatchString(r.name)
}

// run returns how many targets were missed.
func run(ctx context.Context) (int, error) {
	o, err := parseOptions()
	if err != nil {
		return 0, err
	}
	var lines []line
	if o.dir, err = filepath.Abs(o.dir); err != nil { // programs look for relative names in folders of their own
		return 0, fmt.Errorf("flag -dir: %w", err)
	}
	if len(o.manifests) > 0 {
		return compareManifests(ctx, o, os.Stdout)
	}
	for _, services := range []arrangement{none, apiOnly, full} {
		rows := slices.DeleteFunc(allRows(), func(r row) bool { return r.services != services || !o.wanted(r) })
		if len(rows) == 0 {
			continue
		}
		more, err := measure(ctx, o, services, rows)
		lines = append(lines, more...)
		if err != nil {
			_ = writeTable(os.Stdout, lines) // what there is
			return 0, err
		}
	}
	return missed(lines), writeTable(os.Stdout, lines)
}

// measure starts the services of an arrangement and measures its rows. It
// returns those that it has, also if one fails. It tells of each on the way, as
// somebody may end a run that takes too long.
func measure(ctx context.Context, o options, services arrangement, rows []row) (lines []line, err error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	p, err := start(ctx, fail, o, services)
	if err != nil {
		return nil, reason(ctx, err)
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	for _, r := range rows {
		fmt.Fprintf(os.Stderr, "measuring %s …\n", r.name)
		more, err := r.measure(ctx, p)
		if err != nil {
			return lines, fmt.Errorf("measure %s: %w", r.name, reason(ctx, err))
		}
		_ = writeTable(os.Stderr, more)
		lines = append(lines, more...)
	}
	return lines, nil
}

func parseOptions() (options, error) {
	var o options
	manifests := flag.String("manifests", "", "folders, separated by commas, of manifests to compare the two sides' answers to, instead of measuring")
	flag.IntVar(&o.edits, "edits", 0, "with -manifests: how many requests to make with random edits of stored objects, instead of the objects as they are")
	flag.Uint64Var(&o.seed, "seed", 1, "of the edits: the same are made again")
	rows := flag.String("run", "", "regular expression of the rows to measure (default: all but large)")
	flag.StringVar(&o.only, "only", "", "measure one side alone: navarch or kube")
	flag.StringVar(&o.binDir, "bin", "bin", "folder of the built programs")
	flag.StringVar(&o.dir, "dir", os.TempDir(), "where the data folders go; the disk that is measured")
	flag.BoolVar(&o.keep, "keep", false, "keep the data folders, with the programs' logs")
	numbers := []struct {
		name  string
		value *int
		def   int
		usage string
	}{
		{"rounds", &o.rounds, 3, "how many rounds of each measurement, after one to warm up"},
		{"listed", &o.scale.listed, 5000, "pods in a LIST"},
		{"held", &o.scale.held, 50000, "pods held when memory is measured"},
		{"watchers", &o.scale.watchers, 1000, "watchers in the fan-out"},
		{"rate", &o.scale.rate, 10, "writes per second in the fan-out; every watcher gets each"},
		{"scattered", &o.scale.scattered, 1000, "writes per second where the watchers are scattered over namespaces"},
		{"bound", &o.scale.bound, 5000, "pods that are bound in a round; those that keep apart or spread are a fifth"},
		{"largest", &o.scale.largest, 100000, "pods in the row of the large cluster"},
	}
	for _, n := range numbers {
		flag.IntVar(n.value, n.name, n.def, n.usage)
	}
	flag.Parse()
	if *manifests != "" {
		o.manifests = strings.Split(*manifests, ",")
	}
	if o.only != "" && o.only != "navarch" && o.only != "kube" {
		return o, fmt.Errorf("flag -only: %q is neither navarch nor kube", o.only)
	}
	for _, n := range numbers {
		if *n.value < 1 {
			return o, fmt.Errorf("flag -%s: %d must be at least 1", n.name, *n.value)
		}
	}
	if *rows == "" {
		return o, nil
	}
	var err error
	if o.rows, err = regexp.Compile(*rows); err != nil {
		return o, fmt.Errorf("flag -run: %w", err)
	}
	return o, nil
}
