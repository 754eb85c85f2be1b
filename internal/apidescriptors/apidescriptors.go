// Package apidescriptors holds the Protobuf descriptors of the Kubernetes
// messages, so that reflection knows them and a tool such as grpcurl prints a
// Pod field by field. The messages' .proto files ship inside the modules
// k8s.io/api and k8s.io/apimachinery; `go generate` compiles them into the
// embedded file.
package apidescriptors

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

//go:generate go run ./generate -o descriptors.binpb.gz

//go:embed descriptors.binpb.gz
var compressed []byte

// Resolver finds the descriptors of Kubernetes' messages and of those that are
// linked into the program. Kubernetes' are unpacked at the first look-up that
// needs them: a server that nobody reflects on does not hold them.
func Resolver() protodesc.Resolver {
	return &resolver{kubernetes: sync.OnceValues(Files)}
}

type resolver struct {
	kubernetes func() (*protoregistry.Files, error)
}

// FindFileByPath implements protodesc.Resolver.
func (r *resolver) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	if fd, err := protoregistry.GlobalFiles.FindFileByPath(path); !errors.Is(err, protoregistry.NotFound) {
		return fd, err
	}
	files, err := r.kubernetes()
	if err != nil {
		return nil, err
	}
	return files.FindFileByPath(path)
}

// FindDescriptorByName implements protodesc.Resolver.
func (r *resolver) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	if d, err := protoregistry.GlobalFiles.FindDescriptorByName(name); !errors.Is(err, protoregistry.NotFound) {
		return d, err
	}
	files, err := r.kubernetes()
	if err != nil {
		return nil, err
	}
	return files.FindDescriptorByName(name)
}

// Files returns the descriptors of Kubernetes' messages.
func Files() (*protoregistry.Files, error) {
	r, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return nil, fmt.Errorf("unpack the Kubernetes descriptors: %w", err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("unpack the Kubernetes descriptors: %w", err)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("read the Kubernetes descriptors: %w", err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, fmt.Errorf("link the Kubernetes descriptors: %w", err)
	}
	return files, nil
}
