// Package docs holds no code. Its test checks the pages that promise documented
// behaviour of Kubernetes: every test that they name exists.
package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// header begins the tables that are checked. The last cell of each row names
// tests as `package.TestName` or `package.TestName/case`, where package is the
// end of a folder's path.
const header = "| documented behaviour |"

// pages must have such tables.
var pages = []string{"autoscaling.md", "controller.md", "disruption.md", "jobs.md", "namespaces-and-ownership.md", "scheduling-pods.md", "storage.md", "workloads.md"}

var reference = regexp.MustCompile("`([a-z0-9/_]+)\\.(Test\\w+)(?:/([^`]+))?`")

// declared is what the test files of one folder have: tests, and the strings
// among which their cases' names are.
type declared struct {
	tests, words map[string]bool
}

func TestTablesNameTestsThatExist(t *testing.T) {
	all := readTests(t, "..")
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		rows := 0
		inTable := false
		for i, line := range strings.Split(string(text), "\n") {
			switch {
			case strings.HasPrefix(line, header):
				inTable = true
			case !strings.HasPrefix(line, "|"):
				inTable = false
			case inTable && !strings.HasPrefix(line, "|---"):
				rows++
				checkRow(t, all, page+":"+strconv.Itoa(i+1), line)
			}
		}
		if rows == 0 {
			t.Errorf("%s has no table that begins with %q", page, header)
		}
	}
}

func checkRow(t *testing.T, all map[string]declared, at, line string) {
	t.Helper()
	found := reference.FindAllStringSubmatch(line, -1)
	if len(found) == 0 {
		t.Errorf("%s names no test: %s", at, line)
	}
	for _, f := range found {
		if !exists(all, f[1], f[2], f[3]) {
			t.Errorf("%s: there is no test %s", at, f[0])
		}
	}
}

func exists(all map[string]declared, folder, test, word string) bool {
	for path, d := range all {
		if (path == folder || strings.HasSuffix(path, "/"+folder)) && d.tests[test] && (word == "" || d.words[word]) {
			return true
		}
	}
	return false
}

// readTests returns what the test files below a folder declare, by the path of
// their own folder.
func readTests(t *testing.T, top string) map[string]declared {
	t.Helper()
	all := make(map[string]declared)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", "bin", "node_modules"}, d.Name()):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		folder, err := filepath.Rel(top, filepath.Dir(path))
		if err != nil {
			return err
		}
		if all[folder].tests == nil {
			all[folder] = declared{make(map[string]bool), make(map[string]bool)}
		}
		return readFile(path, all[folder])
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func readFile(path string, into declared) error {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil && strings.HasPrefix(n.Name.Name, "Test") {
				into.tests[n.Name.Name] = true
			}
		case *ast.BasicLit:
			if s, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
				into.words[s] = true
			}
		}
		return true
	})
	return nil
}
