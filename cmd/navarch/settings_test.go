package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
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
