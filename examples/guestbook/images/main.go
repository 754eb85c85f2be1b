// Command images puts the guestbook's images together, from static binaries
// and nothing else, and hands them on:
//
//	images --tar FILE             writes them to a tar as 'docker save' does
//	images --push HOST:PORT       pushes them to a registry
//	images --serve HOST:PORT      is a registry that has them, until it is stopped
//
// The binaries are built with go, or taken from --binaries. Equal binaries make
// equal images, to the last byte.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// options are what the command is told.
type options struct {
	tar, push, serve, blobs, binaries string
	// named is the registry in the names of images in a tar.
	named string
}

func main() {
	var o options
	flag.StringVar(&o.tar, "tar", "", "write the images to this file")
	flag.StringVar(&o.push, "push", "", "push the images to the registry at this address")
	flag.StringVar(&o.serve, "serve", "", "serve a registry that has the images at this address")
	flag.StringVar(&o.blobs, "blobs", "", "folder for the served registry's blobs (default: in memory)")
	flag.StringVar(&o.binaries, "binaries", "", "folder that holds the static binaries 'web' and 'store' (default: build them)")
	flag.StringVar(&o.named, "named", "localhost:5000", "registry in the names of the images in a tar")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, os.Stdout)
	stop()
	if err != nil {
		slog.Error("images failed", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) error {
	if o.tar == "" && o.push == "" && o.serve == "" {
		return errors.New("nothing to do: give --tar, --push or --serve")
	}
	images, err := makeImages(ctx, o.binaries)
	if err != nil {
		return err
	}
	if o.tar != "" {
		if err := writeTar(o.tar, o.named, images); err != nil {
			return err
		}
	}
	if o.push != "" {
		if err := push(ctx, o.push, images, out); err != nil {
			return err
		}
	}
	if o.serve != "" {
		return serve(ctx, o.serve, o.blobs, images, out)
	}
	return nil
}

// reference is an image's name in a registry.
func reference(host, program string) (name.Tag, error) {
	tag, err := name.NewTag(path.Join(host, "guestbook", program)+":v1", name.Insecure)
	if err != nil {
		return tag, fmt.Errorf("name image %s: %w", program, err)
	}
	return tag, nil
}

func writeTar(file, host string, images map[string]v1.Image) error {
	named := make(map[name.Tag]v1.Image, len(images))
	for program, image := range images {
		tag, err := reference(host, program)
		if err != nil {
			return err
		}
		named[tag] = image
	}
	if err := tarball.MultiWriteToFile(file, named); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

func push(ctx context.Context, host string, images map[string]v1.Image, out io.Writer) error {
	for program, image := range images {
		tag, err := reference(host, program)
		if err != nil {
			return err
		}
		if err := remote.Write(tag, image, remote.WithContext(ctx)); err != nil {
			return fmt.Errorf("push %s: %w", tag, err)
		}
		_, _ = fmt.Fprintln(out, "pushed", tag)
	}
	return nil
}

// serve runs a registry until ctx ends. It says so once it has the images.
func serve(ctx context.Context, address, blobs string, images map[string]v1.Image, out io.Writer) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serve a registry: %w", err)
	}
	server := &http.Server{Handler: registryHandler(blobs), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	err = push(ctx, listener.Addr().String(), images, out)
	if err == nil {
		_, _ = fmt.Fprintln(out, "serving", listener.Addr())
		select {
		case err = <-failed:
		case <-ctx.Done():
		}
	}
	return errors.Join(err, server.Close())
}

func registryHandler(blobs string) http.Handler {
	opts := []registry.Option{registry.Logger(log.New(io.Discard, "", 0))}
	if blobs != "" {
		opts = append(opts, registry.WithBlobHandler(registry.NewDiskBlobHandler(blobs)))
	}
	return registry.New(opts...)
}
