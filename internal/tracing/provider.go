// Package tracing makes the tracer providers of Navarch's services and holds
// the traces that `navarch up` shows.
//
// A trace begins with a user's request at the gateway, travels with the object
// that the request changed, and goes on with whoever acts on the change. Work
// that nobody asked for (heartbeats, resyncs) begins no trace.
package tracing

import (
	"context"
	"fmt"
	"os"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// RootPrefix begins the names of the spans that may begin a trace.
const RootPrefix = "gateway."

// Options say where a service's spans go. Beside them the standard OTEL_*
// variables apply: with OTEL_EXPORTER_OTLP_ENDPOINT or
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT set, spans are exported there too.
type Options struct {
	// Service is the service.name of the spans.
	Service string
	// Node is the node that the service works for; empty for none.
	Node string
	// Memory, if not nil, takes the spans.
	Memory *Memory
	// Clients take the spans by the OpenTelemetry protocol.
	Clients []otlptrace.Client
}

// NewProvider returns a tracer provider and a function that sends what is left
// and ends it.
func NewProvider(ctx context.Context, opts Options) (trace.TracerProvider, func(context.Context) error, error) {
	clients := opts.Clients
	if os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "" {
		clients = append(clients, otlptracegrpc.NewClient())
	}
	attributes := []attribute.KeyValue{attribute.String("service.name", opts.Service)}
	if opts.Node != "" {
		attributes = append(attributes, attribute.String("k8s.node.name", opts.Node))
	}
	providerOptions := []sdktrace.TracerProviderOption{
		sdktrace.WithSampler(sdktrace.ParentBased(rootSampler{})),
		sdktrace.WithResource(resource.NewSchemaless(attributes...)),
	}
	if opts.Memory != nil {
		providerOptions = append(providerOptions, sdktrace.WithSpanProcessor(keeper{opts.Memory, opts.Service, opts.Node}))
	}
	for _, c := range clients {
		exporter, err := otlptrace.New(ctx, c)
		if err != nil {
			return nil, nil, fmt.Errorf("export traces of %s: %w", opts.Service, err)
		}
		providerOptions = append(providerOptions, sdktrace.WithSpanProcessor(newBatcher(exporter)))
	}
	provider := sdktrace.NewTracerProvider(providerOptions...)
	return provider, provider.Shutdown, nil
}

// rootSampler records a trace only if it begins with a user's request.
type rootSampler struct{}

// ShouldSample implements sdktrace.Sampler.
func (rootSampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	decision := sdktrace.Drop
	if strings.HasPrefix(p.Name, RootPrefix) {
		decision = sdktrace.RecordAndSample
	}
	return sdktrace.SamplingResult{Decision: decision, Tracestate: trace.SpanContextFromContext(p.ParentContext).TraceState()}
}

// Description implements sdktrace.Sampler.
func (rootSampler) Description() string { return "UserRequests" }
