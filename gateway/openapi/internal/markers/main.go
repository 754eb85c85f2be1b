// Command markers collects from the source of the Kubernetes API types what
// they say in comments: the markers +listType, +listMapKey, +mapType,
// +structType and +enum, and of types that have no SwaggerDoc the texts. It
// runs by go generate.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// source is where types are.
type source struct {
	module string
	// dir is the folder in the module; empty: all of it.
	dir string
	// texts says that the types have no SwaggerDoc.
	texts bool
}

var sources = []source{
	{module: "k8s.io/api"}, {module: "k8s.io/apimachinery"},
	{module: "k8s.io/kube-aggregator", dir: "pkg/apis/apiregistration/v1", texts: true},
	{module: "k8s.io/apiextensions-apiserver", dir: "pkg/apis/apiextensions/v1", texts: true},
}

func main() {
	out := flag.String("o", "markers.txt", "file to write")
	flag.Parse()
	if err := run(*out); err != nil {
		log.Fatal(err)
	}
}

func run(out string) error {
	var lines []string
	for _, s := range sources {
		dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", s.module).Output()
		if err != nil {
			return fmt.Errorf("find module %s: %w", s.module, err)
		}
		found, err := walk(s, string(bytes.TrimSpace(dir)))
		if err != nil {
			return err
		}
		lines = append(lines, found...)
	}
	slices.Sort(lines)
	return os.WriteFile(out, []byte(strings.Join(slices.Compact(lines), "\n")+"\n"), 0o644)
}

// walk reads every package of a source that has a types.go or holds meta/v1.
func walk(s source, root string) ([]string, error) {
	var lines []string
	err := filepath.WalkDir(filepath.Join(root, s.dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasPrefix(d.Name(), "types") || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		found, err := readFile(path, filepath.ToSlash(filepath.Join(s.module, rel)), s.texts)
		lines = append(lines, found...)
		return err
	})
	return lines, err
}

// readFile returns the lines of one source file.
func readFile(path, pkg string, texts bool) ([]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	model := strings.ReplaceAll(strings.Replace(pkg, "k8s.io/", "io.k8s.", 1), "/", ".")
	var lines []string
	enums := make(map[string]bool)
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.TYPE {
			continue
		}
		for _, spec := range gen.Specs {
			ts := spec.(*ast.TypeSpec)
			doc := ts.Doc
			if doc == nil {
				doc = gen.Doc
			}
			if slices.Contains(markersIn(doc), "enum") {
				enums[ts.Name.Name] = true
			}
			name := model + "." + ts.Name.Name
			lines = appendLine(lines, name, merging(doc))
			if texts {
				lines = appendLine(lines, name, text(doc))
			}
			if st, ok := ts.Type.(*ast.StructType); ok {
				lines = append(lines, fieldLines(name, st, texts)...)
			}
		}
	}
	return append(lines, enumLines(file, pkg, enums)...), nil
}

// fieldLines returns a line for each marked field, and one for its text.
func fieldLines(model string, st *ast.StructType, texts bool) []string {
	var lines []string
	for _, f := range st.Fields.List {
		if f.Tag == nil {
			continue
		}
		tag, err := strconv.Unquote(f.Tag.Value)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(tag, `json:"`)
		name, _, _ := strings.Cut(strings.SplitN(rest, `"`, 2)[0], ",")
		if name == "" {
			continue
		}
		lines = appendLine(lines, model+"."+name, merging(f.Doc))
		if texts {
			lines = appendLine(lines, model+"."+name, text(f.Doc))
		}
	}
	return lines
}

// enumLines returns a line for each enumeration with its values, sorted.
func enumLines(file *ast.File, pkg string, enums map[string]bool) []string {
	values := make(map[string][]string)
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.CONST {
			continue
		}
		for _, spec := range gen.Specs {
			vs := spec.(*ast.ValueSpec)
			id, ok := vs.Type.(*ast.Ident)
			if !ok || !enums[id.Name] || len(vs.Values) != 1 {
				continue
			}
			if lit, ok := vs.Values[0].(*ast.BasicLit); ok {
				if v, err := strconv.Unquote(lit.Value); err == nil && v != "" && !strings.ContainsAny(v, " \t") {
					values[id.Name] = append(values[id.Name], "enum="+v)
				}
			}
		}
	}
	var lines []string
	for name, v := range values {
		slices.Sort(v)
		lines = appendLine(lines, pkg+"."+name, v)
	}
	return lines
}

func appendLine(lines []string, name string, words []string) []string {
	if len(words) == 0 {
		return lines
	}
	return append(lines, name+" "+strings.Join(words, " "))
}

// merging returns the markers that say how values are merged.
func merging(doc *ast.CommentGroup) []string {
	var out []string
	for _, m := range markersIn(doc) {
		switch name, _, _ := strings.Cut(m, "="); name {
		case "listType", "listMapKey", "mapType", "structType":
			out = append(out, m)
		}
	}
	return out
}

// text returns what a comment says, but for its markers, as one quoted word.
// Paragraphs are kept, lines are joined, as SwaggerDoc has it.
func text(doc *ast.CommentGroup) []string {
	if doc == nil {
		return nil
	}
	var paragraphs []string
	var lines []string
	end := func() {
		if len(lines) > 0 {
			paragraphs = append(paragraphs, strings.Join(lines, " "))
		}
		lines = nil
	}
	for _, c := range doc.List {
		switch line := strings.TrimSpace(strings.TrimPrefix(c.Text, "//")); {
		case line == "":
			end()
		case !strings.HasPrefix(line, "+"):
			lines = append(lines, line)
		}
	}
	end()
	if len(paragraphs) == 0 {
		return nil
	}
	return []string{strconv.Quote(strings.Join(paragraphs, "\n\n"))}
}

// markersIn returns the lines of a comment that begin with "+".
func markersIn(doc *ast.CommentGroup) []string {
	if doc == nil {
		return nil
	}
	var out []string
	for _, c := range doc.List {
		text := strings.TrimSpace(strings.TrimPrefix(c.Text, "//"))
		if m, ok := strings.CutPrefix(text, "+"); ok {
			out = append(out, strings.TrimSpace(m))
		}
	}
	return out
}
