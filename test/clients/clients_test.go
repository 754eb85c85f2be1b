// Package clients_test drives a cluster with programs that others wrote for
// Kubernetes, unchanged: helm, stern and k9s; and with client-go in two versions.
// `make clients` builds them.
package clients_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"navarch.dev/navarch/internal/testcluster"
)

// patience bounds one command.
const patience = 3 * time.Minute

// suite is the cluster that all tests of this package share.
type suite struct {
	*testcluster.Cluster
	home string
}

func TestClients(t *testing.T) {
	s := suite{Cluster: testcluster.Start(t, testcluster.Options{}), home: t.TempDir()}
	s.LoadBusybox(t)
	for _, tc := range []struct {
		name string
		test func(*testing.T)
	}{
		{"helm installs, upgrades, rolls back and uninstalls", s.testHelm},
		{"helm waits for what fails", s.testHelmFailure},
		{"helm makes kinds", s.testHelmKinds},
		{"helm installs this project's chart", s.testOwnChart},
		{"stern", s.testStern},
		{"k9s", s.testK9s},
		{"client-go", s.testClientGo},
	} {
		t.Run(tc.name, tc.test)
	}
}

// command returns a client's command, not yet started, whose files are all
// below the test's own folder.
func (s suite) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, testcluster.Binary("clients/"+program), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.Kubeconfig, "HOME="+s.home, "TERM=xterm-256color",
		"HELM_CACHE_HOME="+s.home+"/cache", "HELM_CONFIG_HOME="+s.home+"/config", "HELM_DATA_HOME="+s.home+"/data")
	return cmd
}

// client runs a client and returns its standard output; an error fails the
// test.
func (s suite) client(t *testing.T, program string, args ...string) string {
	t.Helper()
	out, diagnostics, err := s.try(t, program, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, out, diagnostics)
	}
	return out
}

// try runs a client that may fail.
func (s suite) try(t *testing.T, program string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience) // clean-ups run clients too
	defer cancel()
	cmd := s.command(ctx, program, args...)
	var out, diagnostics bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &diagnostics
	err = cmd.Run()
	return out.String(), diagnostics.String(), err
}
