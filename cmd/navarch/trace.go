package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	"navarch.dev/navarch/internal/apistatus"
	"navarch.dev/navarch/internal/tracing"
	storev1 "navarch.dev/navarch/proto/navarch/store/v1"
	tracev1 "navarch.dev/navarch/proto/navarch/trace/v1"
)

func newTraceCommand() *cobra.Command {
	var config accessConfig
	var namespace, output string
	cmd := &cobra.Command{
		Use:   "trace KIND/NAME",
		Short: "Show an object's trace, from the request that caused it to running containers",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := parseObjectName(args[0], namespace)
			if err != nil {
				return err
			}
			if output != "" && output != "json" {
				return usageError{fmt.Errorf("flag --output: %q must be json or left out", output)}
			}
			access, err := config.open()
			if err != nil {
				return err
			}
			defer access.Close()
			ref, err := access.object(cmd.Context(), name)
			if err != nil {
				return err
			}
			return showTrace(cmd.Context(), cmd.OutOrStdout(), access, ref, output)
		},
	}
	config.addFlags(cmd.Flags())
	addNamespaceFlag(cmd, &namespace)
	cmd.Flags().StringVarP(&output, "output", "o", "", "json: the spans as JSON")
	return cmd
}

func showTrace(ctx context.Context, out io.Writer, access *access, ref objectRef, output string) error {
	conn, err := access.store()
	if err != nil {
		return err
	}
	object, err := storev1.NewStoreServiceClient(conn).Get(ctx, &storev1.GetRequest{
		Resource: ref.resource(), Namespace: ref.namespace, Name: ref.name, Projection: storev1.Projection_PROJECTION_METADATA,
	})
	if err != nil {
		return apistatus.FromGRPC(err)
	}
	id, ok := traceID(object.GetObject().GetTrace().GetTraceparent())
	if !ok {
		return fmt.Errorf("%s %q has no trace: nobody's request led to it", ref.kind.Singular, ref.name)
	}
	resp, err := settledTrace(ctx, tracev1.NewTraceServiceClient(conn), id)
	switch status.Code(err) {
	case codes.OK:
	case codes.NotFound:
		return fmt.Errorf("trace %s of %s %q is not held any more", id, ref.kind.Singular, ref.name)
	case codes.Unimplemented:
		return fmt.Errorf("the cluster keeps no traces itself: look for trace %s where OTEL_EXPORTER_OTLP_ENDPOINT sends them", id)
	default:
		return fmt.Errorf("get trace %s: %w", id, apistatus.FromGRPC(err))
	}
	if output == "json" {
		data, err := protojson.MarshalOptions{Multiline: true}.Marshal(resp)
		if err != nil {
			return fmt.Errorf("print the trace: %w", err)
		}
		_, err = fmt.Fprintln(out, string(data))
		return err
	}
	if _, err := fmt.Fprintf(out, "trace %s of %s/%s\n\n", id, ref.kind.Singular, ref.name); err != nil {
		return err
	}
	return tracing.WriteWaterfall(out, resp.GetSpans())
}

const (
	// quietTime is how long nothing may have happened in a trace for it to be
	// shown: spans come a little after what they tell of.
	quietTime = time.Second
	// settleTime is how long a trace that goes on is waited for.
	settleTime = 5 * time.Second
)

// settledTrace returns a trace once it has been quiet for a while. A trace
// that goes on is returned as far as it has come.
func settledTrace(ctx context.Context, traces tracev1.TraceServiceClient, id string) (*tracev1.GetTraceResponse, error) {
	began := time.Now()
	for {
		resp, err := traces.GetTrace(ctx, &tracev1.GetTraceRequest{TraceId: id})
		var last time.Time
		for _, s := range resp.GetSpans() {
			if end := s.GetEndTime().AsTime(); end.After(last) {
				last = end
			}
		}
		switch {
		case status.Code(err) == codes.NotFound:
			// The first spans may be under way still.
			last = began
		case err != nil:
			return nil, err
		}
		quiet := time.Since(last)
		if quiet >= quietTime || time.Since(began) >= settleTime {
			return resp, err
		}
		select {
		case <-time.After(quietTime - quiet):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// traceID reads the trace's ID from a W3C traceparent.
func traceID(traceparent string) (string, bool) {
	parts := strings.Split(traceparent, "-")
	if len(parts) != 4 || len(parts[1]) != 32 {
		return "", false
	}
	return parts[1], true
}
