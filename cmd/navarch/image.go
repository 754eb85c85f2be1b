package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"navarch.dev/navarch/internal/apistatus"
	nodev1 "navarch.dev/navarch/proto/navarch/node/v1"
)

// imageChunk is how much of a tar goes into one message.
const imageChunk = 1 << 20

func newImageCommand() *cobra.Command {
	var config accessConfig
	var node string
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Load, list and remove the images of a node",
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	config.addFlags(cmd.PersistentFlags())
	cmd.PersistentFlags().StringVar(&node, "node", "", "the node (default: the only one; for load: all)")
	onAgent := func(run func(context.Context, io.Writer, nodev1.NodeServiceClient, []string) error) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, args []string) error {
			access, err := config.open()
			if err != nil {
				return err
			}
			defer access.Close()
			conn, err := access.agent(cmd.Context(), node)
			if err != nil {
				return err
			}
			return run(cmd.Context(), cmd.OutOrStdout(), nodev1.NewNodeServiceClient(conn), args)
		}
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "load FILE.tar", Short: "Load the images of a docker-save or OCI-layout tar", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				access, err := config.open()
				if err != nil {
					return err
				}
				defer access.Close()
				return loadImages(cmd.Context(), cmd.OutOrStdout(), access, node, args[0])
			},
		},
		&cobra.Command{Use: "ls", Short: "List the images", Args: cobra.NoArgs, RunE: onAgent(listImages)},
		&cobra.Command{Use: "rm REF", Short: "Remove an image by name or ID", Args: cobra.ExactArgs(1), RunE: onAgent(removeImage)},
	)
	return cmd
}

// loadImages loads a tar onto one node, or onto all.
func loadImages(ctx context.Context, out io.Writer, access *access, node, path string) error {
	names := []string{node}
	if node == "" {
		all, err := access.nodeNames(ctx)
		if err != nil {
			return err
		}
		names = all
	}
	for _, name := range names {
		conn, err := access.agent(ctx, name)
		if err != nil {
			return err
		}
		images, err := loadImage(ctx, conn, path)
		if err != nil {
			return fmt.Errorf("load %s onto %s: %w", path, name, err)
		}
		for _, image := range images {
			fmt.Fprintf(out, "%s: loaded %s\n", name, imageTitle(image))
		}
	}
	return nil
}

func loadImage(ctx context.Context, conn grpc.ClientConnInterface, path string) ([]*nodev1.Image, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	stream, err := nodev1.NewNodeServiceClient(conn).LoadImage(ctx)
	if err != nil {
		return nil, apistatus.FromGRPC(err)
	}
	for {
		chunk := make([]byte, imageChunk) // the stream keeps it
		n, err := file.Read(chunk)
		if n > 0 {
			if serr := stream.Send(&nodev1.LoadImageRequest{Data: chunk[:n]}); serr != nil {
				break // CloseAndRecv tells why
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the tar: %w", err)
		}
	}
	resp, err := stream.CloseAndRecv()
	return resp.GetImages(), apistatus.FromGRPC(err)
}

func listImages(ctx context.Context, out io.Writer, node nodev1.NodeServiceClient, _ []string) error {
	resp, err := node.ListImages(ctx, &nodev1.ListImagesRequest{})
	if err != nil {
		return apistatus.FromGRPC(err)
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tID\tSIZE")
	for _, image := range resp.GetImages() {
		names := image.GetNames()
		if len(names) == 0 {
			names = []string{"<none>"}
		}
		for _, name := range names {
			fmt.Fprintf(w, "%s\t%.19s\t%.1f MiB\n", name, image.GetId(), float64(image.GetSizeBytes())/(1<<20))
		}
	}
	return w.Flush()
}

func removeImage(ctx context.Context, out io.Writer, node nodev1.NodeServiceClient, args []string) error {
	if _, err := node.RemoveImage(ctx, &nodev1.RemoveImageRequest{Image: args[0]}); err != nil {
		return apistatus.FromGRPC(err)
	}
	_, err := fmt.Fprintf(out, "removed %s\n", args[0])
	return err
}

func imageTitle(image *nodev1.Image) string {
	if len(image.GetNames()) > 0 {
		return strings.Join(image.GetNames(), ", ")
	}
	return image.GetId()
}
