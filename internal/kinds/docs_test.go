package kinds_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"navarch.dev/navarch/internal/kinds"
)

// TestDocumentation compares the table of kinds in docs/api.md with what is
// served.
func TestDocumentation(t *testing.T) {
	data, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	const header = "| API | kind | resource | short names | subresources |\n|---|---|---|---|---|\n"
	_, after, found := strings.Cut(string(data), header)
	if !found {
		t.Fatalf("docs/api.md has no table that begins with\n%s", header)
	}
	table, _, _ := strings.Cut(after, "\n\n")
	if want := kindTable(); strings.TrimSpace(table) != strings.TrimSpace(want) {
		t.Errorf("the table of kinds in docs/api.md is not up to date; it should be\n%s%s", header, want)
	}
}

func kindTable() string {
	all := slices.Clone(kinds.Default().All())
	slices.SortFunc(all, func(a, b *kinds.Kind) int {
		return strings.Compare(a.Group+"/"+a.Version+"/"+a.Kind, b.Group+"/"+b.Version+"/"+b.Kind)
	})
	var out strings.Builder
	for _, k := range all {
		scope := ""
		if !k.Namespaced {
			scope = " (cluster)"
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s%s | %s | %s |\n", k.APIVersion(), k.Kind, k.Resource, scope,
			strings.Join(k.ShortNames, ", "), strings.Join(k.Subresources, ", "))
	}
	return out.String()
}
