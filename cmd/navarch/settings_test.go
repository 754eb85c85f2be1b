package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"navarch.dev/navarch/services/scheduler"
)

func TestSettingsPrecedence(t *testing.T) {
	for _, tc := range []struct {
		name              string
		args              []string
		environment, file string
		want              string
	}{
		{"default", nil, "", "", "default"},
		{"file over default", nil, "", "log-level: file", "file"},
		{"variable over file", nil, "variable", "log-level: file", "variable"},
		{"flag over variable", []string{"--log-level=flag"}, "variable", "log-level: file", "flag"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
			addConfigFlag(fs)
			got := fs.String("log-level", "default", "")
			args := tc.args
			if tc.file != "" {
				path := filepath.Join(t.TempDir(), "config.yaml")
				if err := os.WriteFile(path, []byte(tc.file), 0o600); err != nil {
					t.Fatal(err)
				}
				args = append(args, "--config", path)
			}
			if tc.environment != "" {
				t.Setenv("NAVARCH_LOG_LEVEL", tc.environment)
			}
			if err := fs.Parse(args); err != nil {
				t.Fatal(err)
			}
			if err := applySettings(fs); err != nil {
				t.Fatal(err)
			}
			if *got != tc.want {
				t.Errorf("log-level = %q, want %q", *got, tc.want)
			}
		})
	}
}

func TestSettingsErrorsNameWhatIsWrong(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		want       []string
	}{
		{"unknown flag", "node: 3", []string{`unknown flag "node"`, "nodes"}},
		{"bad value", "nodes: three", []string{"nodes", `"three"`}},
		{"not a map", "- a", []string{"must be YAML"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(path, []byte(tc.file), 0o600); err != nil {
				t.Fatal(err)
			}
			fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
			addConfigFlag(fs)
			fs.Int("nodes", 1, "")
			if err := fs.Parse([]string{"--config", path}); err != nil {
				t.Fatal(err)
			}
			err := applySettings(fs)
			var usage usageError
			if !errors.As(err, &usage) {
				t.Fatalf("error = %v, want a usage error", err)
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not hold %q", err, want)
				}
			}
		})
	}
}

func TestSettingsFileOfAKindIsTheFlagsForIt(t *testing.T) {
	const object = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
	for _, tc := range []struct {
		name, file string
		args       []string
		want, err  string
	}{
		{"an object of the kind", object + "parallelism: 7", nil, "own", ""},
		{"and settings", "scheduler-config: x.yaml", nil, "x.yaml", ""},
		{"both", object, []string{"--scheduler-config", "x.yaml"}, "", "--config and --scheduler-config both name a KubeSchedulerConfiguration"},
		{"an object of another kind", "apiVersion: v1\nkind: Pod", nil, "", "unknown flag"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(path, []byte(tc.file), 0o600); err != nil {
				t.Fatal(err)
			}
			fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
			addConfigFlag(fs)
			s := &schedulerSettings{Config: scheduler.DefaultConfig()}
			s.LeaderElect = false
			s.AddFlags(fs)
			if err := fs.Parse(append(tc.args, "--config", path)); err != nil {
				t.Fatal(err)
			}
			err := applySettings(fs)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tc.want != "own" {
				path = tc.want
			}
			if s.file != path {
				t.Errorf("the file is %q", s.file)
			}
			if err := s.Validate(); tc.want == "own" && (err != nil || s.Parallelism != 7) {
				t.Errorf("parallelism %d, %v", s.Parallelism, err)
			}
		})
	}
}

func TestFlagsOfTheSchedulerWinOverItsFileUnderAnyName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "scheduler.yaml")
	if err := os.WriteFile(path, []byte("apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nparallelism: 7\npodMaxBackoffSeconds: 60\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	s := &schedulerSettings{Config: scheduler.DefaultConfig()}
	s.LeaderElect = false
	prefixed(fs, "other-", &s.Config)
	s.addFile(fs, func(flag string) bool { return fs.Changed("other-" + flag) })
	if err := fs.Parse([]string{"--scheduler-config", path, "--other-parallelism=2"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	if s.Parallelism != 2 || s.MaxBackoff != time.Minute {
		t.Errorf("parallelism %d, back-off %v", s.Parallelism, s.MaxBackoff)
	}
}

func TestPrefixedFlags(t *testing.T) {
	type both struct{ one, two scheduler.Config }
	s := both{scheduler.DefaultConfig(), scheduler.DefaultConfig()}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	s.one.AddFlags(fs)
	prefixed(fs, "other-", &s.two)
	fs.VisitAll(func(f *pflag.Flag) {
		if name, ok := strings.CutPrefix(f.Name, "other-"); ok {
			if own := fs.Lookup(name); own == nil || own.DefValue != f.DefValue || f.Shorthand != "" {
				t.Errorf("--%s does not stand for --%s", f.Name, name)
			}
		} else if fs.Lookup("other-"+f.Name) == nil {
			t.Errorf("--%s has no prefixed twin", f.Name)
		}
	})
	if err := fs.Parse([]string{"--other-scheduler-name=second"}); err != nil {
		t.Fatal(err)
	}
	if s.one.SchedulerName == "second" || s.two.SchedulerName != "second" {
		t.Errorf("the names are %q and %q", s.one.SchedulerName, s.two.SchedulerName)
	}
}

func FuzzSettingsFile(f *testing.F) {
	for _, seed := range []string{"nodes: 3", "nodes: [1, 2]", "labels: [a, b]", "- a", "config: x", "nodes: {a: b}", "&a [*a]", "nodes: 1e99", "\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		addConfigFlag(fs)
		fs.Int("nodes", 1, "")
		fs.StringSlice("labels", nil, "")
		err := applyFile(fs, path)
		var usage usageError
		if err != nil && !errors.As(err, &usage) {
			t.Errorf("the error is not about usage: %v", err)
		}
	})
}

func TestListsOfSettingsAreTakenItemByItem(t *testing.T) {
	file := filepath.Join(t.TempDir(), "settings.yaml")
	if err := os.WriteFile(file, []byte("mirror: [a=http://x, b=http://y]\nnames: [c, d]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	addConfigFlag(fs)
	mirrors := fs.StringArray("mirror", nil, "")
	names := fs.StringSlice("names", nil, "")
	if err := fs.Parse([]string{"--config", file}); err != nil {
		t.Fatal(err)
	}
	if err := applySettings(fs); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(*mirrors, []string{"a=http://x", "b=http://y"}) || !slices.Equal(*names, []string{"c", "d"}) {
		t.Errorf("mirrors %q, names %q", *mirrors, *names)
	}
}
