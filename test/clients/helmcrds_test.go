package clients_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"navarch.dev/navarch/internal/testcluster"
)

// harbour is the name of the first release of testdata/harbour, and of its
// namespace.
const harbour = "harbour"

// testHelmKinds takes a chart with a kind of its own in crds/, and objects of that
// kind in its templates, through its life. helm makes such kinds when it installs,
// and neither changes nor removes them later.
func (s suite) testHelmKinds(t *testing.T) {
	const chart = "testdata/harbour"
	in := func(verb, release, chart string, more ...string) []string {
		return append([]string{verb, release, chart, "--namespace", harbour, "--wait", "--timeout", "2m"}, more...)
	}
	out := s.client(t, "helm", in("install", harbour, chart, "--create-namespace")...)
	testcluster.Contains(t, "helm install", out, "STATUS: deployed")
	s.floats(t, "north red flashing")
	defined := s.definition(t)

	changed := changedKind(t, chart)
	out = s.client(t, "helm", in("upgrade", harbour, changed, "--set", "colour=green", "--set", "buoys={north,south}")...)
	testcluster.Contains(t, "helm upgrade", out, "STATUS: deployed", "REVISION: 2")
	s.floats(t, "north green flashing", "south green flashing")
	if now := s.definition(t); now != defined {
		t.Errorf("helm upgrade changed the kind from %s to %s", defined, now)
	}
	_, refused, err := s.try(t, "helm", in("upgrade", harbour, changed, "--set", "colour=blue", "--set", "buoys={north,south}")...)
	if err == nil {
		t.Error("helm upgrade made objects that the kind's schema forbids")
	}
	testcluster.Contains(t, "helm upgrade to a colour that there is not", refused, `Unsupported value: "blue"`)
	s.floats(t, "north green flashing", "south green flashing")

	s.client(t, "helm", in("install", "pier", chart, "--set", "buoys={west}")...) // whose kind is there already
	s.client(t, "helm", "uninstall", harbour, "--namespace", harbour, "--wait", "--timeout", "2m")
	s.floats(t, "west red flashing")
	s.client(t, "helm", "uninstall", "pier", "--namespace", harbour, "--wait", "--timeout", "2m")
	s.floats(t)
	if now := s.definition(t); now != defined {
		t.Errorf("after helm uninstall the kind %s is %s", defined, now)
	}
	s.Kubectl(t, "delete", "crd", "buoys.harbour.example.com")
	s.Kubectl(t, "delete", "namespace", harbour)
}

// floats checks which Buoys there are, as "name colour light" in order.
func (s suite) floats(t *testing.T, want ...string) {
	t.Helper()
	got := s.Kubectl(t, "get", "buoys", "-n", harbour, "-o", `jsonpath={range .items[*]}{.metadata.name} {.spec.colour} {.spec.light}{"\n"}{end}`)
	if strings.TrimSpace(got) != strings.Join(want, "\n") {
		t.Errorf("there are\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// definition tells the kind's identity and generation.
func (s suite) definition(t *testing.T) string {
	t.Helper()
	return s.Kubectl(t, "get", "crd", "buoys.harbour.example.com", "-o", "jsonpath={.metadata.uid} {.metadata.generation}")
}

// changedKind returns a copy of a chart, in which the kind has one more value.
func changedKind(t *testing.T, chart string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), filepath.Base(chart))
	if err := os.CopyFS(dir, os.DirFS(chart)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "crds", "buoys.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "yellow]", "yellow, blue]", 1)
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
