// Command generate compiles the .proto files of the Kubernetes modules into one
// compressed FileDescriptorSet.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// modules are the Go modules whose .proto files are compiled.
var modules = []string{"k8s.io/api", "k8s.io/apimachinery", "k8s.io/kube-aggregator", "k8s.io/apiextensions-apiserver"}

func main() {
	output := flag.String("o", "", "file to write")
	flag.Parse()
	if err := run(context.Background(), *output); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, output string) error {
	roots := make(map[string]string, len(modules))
	var paths []string
	for _, m := range modules {
		out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", m).Output()
		if err != nil {
			return fmt.Errorf("find the module %s: %w", m, err)
		}
		roots[m] = strings.TrimSpace(string(out))
		found, err := protoFiles(m, roots[m])
		if err != nil {
			return err
		}
		paths = append(paths, found...)
	}
	slices.Sort(paths)
	compiler := protocompile.Compiler{
		Resolver: protocompile.WithStandardImports(protocompile.ResolverFunc(func(path string) (protocompile.SearchResult, error) {
			for module, dir := range roots {
				if rest, ok := strings.CutPrefix(path, module+"/"); ok {
					f, err := os.Open(filepath.Join(dir, rest))
					return protocompile.SearchResult{Source: f}, err
				}
			}
			return protocompile.SearchResult{}, fs.ErrNotExist
		})),
	}
	files, err := compiler.Compile(ctx, paths...)
	if err != nil {
		return fmt.Errorf("compile: %w", err)
	}
	set := new(descriptorpb.FileDescriptorSet)
	seen := make(map[string]bool)
	for _, f := range files {
		addFile(set, seen, f)
	}
	return write(output, set)
}

func protoFiles(module, dir string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "testdata" {
			return filepath.SkipDir
		}
		if d.Name() == "generated.proto" {
			rel, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			found = append(found, module+"/"+filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the .proto files of %s: %w", module, err)
	}
	return found, nil
}

// addFile adds a file after all that it imports.
func addFile(set *descriptorpb.FileDescriptorSet, seen map[string]bool, f protoreflect.FileDescriptor) {
	if seen[f.Path()] {
		return
	}
	seen[f.Path()] = true
	imports := f.Imports()
	for i := range imports.Len() {
		addFile(set, seen, imports.Get(i).FileDescriptor)
	}
	set.File = append(set.File, protodesc.ToFileDescriptorProto(f))
}

func write(output string, set *descriptorpb.FileDescriptorSet) error {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(set)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	return os.WriteFile(output, buf.Bytes(), 0o644)
}
