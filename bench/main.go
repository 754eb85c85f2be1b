// Command bench prints Navarch's speed figures, each beside a reference that
// is measured in the same run on the same machine: what the raw mechanism
// below costs (runc, etcd, an HTTP handler). Measurement and reference take
// turns, so that other load on the machine falls on both, and the ratio says
// more than the times do. Run it as root after `make build`.
package main

import (
	"context"
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
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == referenceCommand {
		exit(serveReference(ctx, os.Args[2:]))
		return
	}
	exit(run(ctx))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	o, err := parseOptions()
	if err != nil {
		return err
	}
	b, err := newBench(o)
	if err != nil {
		return err
	}
	defer b.close(context.WithoutCancel(ctx))
	for _, r := range allRows() {
		if !o.rows.MatchString(r.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring %s …\n", r.name)
		lines, err := r.measure(ctx, b)
		if err != nil {
			return fmt.Errorf("measure %s: %w", r.name, err)
		}
		b.lines = append(b.lines, lines...)
	}
	return writeTable(os.Stdout, b.lines)
}

func parseOptions() (options, error) {
	var o options
	rows := flag.String("run", ".", "regular expression of the rows to measure")
	flag.IntVar(&o.rounds, "rounds", 3, "how many rounds of each measurement")
	flag.StringVar(&o.binDir, "bin", envOr("NAVARCH_BIN_DIR", "bin"), "folder of the built programs")
	flag.StringVar(&o.dir, "dir", os.TempDir(), "where the data folders go; the disk that is measured")
	flag.Parse()
	var err error
	if o.rows, err = regexp.Compile(*rows); err != nil {
		return o, fmt.Errorf("flag -run: %w", err)
	}
	if o.rounds < 1 {
		return o, fmt.Errorf("flag -rounds: %d must be at least 1", o.rounds)
	}
	return o, nil
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// row is one measurement.
type row struct {
	// name selects it on the command line.
	name    string
	measure func(context.Context, *bench) ([]line, error)
}

// allRows in the order in which they are measured: those that want a cluster
// without history come first.
func allRows() []row {
	return []row{
		{"startup", measureStartup},
		{"memory", measureMemory},
		{"pod", measurePods},
		{"burst", measureBurst},
		{"watch", measureWatch},
		{"create", measureCreates},
		{"list", measureList},
	}
}
