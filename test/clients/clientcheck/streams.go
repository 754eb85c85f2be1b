package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
)

// target is the pod that the test runs; it serves "hello" at port 8080.
const target = "target"

func execWebSocket(ctx context.Context, config *rest.Config) error {
	return execute(ctx, config, func(r *rest.Request) (remotecommand.Executor, error) {
		return remotecommand.NewWebSocketExecutor(config, http.MethodGet, r.URL().String())
	})
}

func execSPDY(ctx context.Context, config *rest.Config) error {
	return execute(ctx, config, func(r *rest.Request) (remotecommand.Executor, error) {
		return remotecommand.NewSPDYExecutor(config, http.MethodPost, r.URL())
	})
}

// execute sends standard input through a command in the target, and reads its
// both outputs and its exit code.
func execute(ctx context.Context, config *rest.Config, executor func(*rest.Request) (remotecommand.Executor, error)) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	request := client.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(target).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Command: []string{"sh", "-c", "tr a-z A-Z; echo problem >&2; exit 7"}, Stdin: true, Stdout: true, Stderr: true,
		}, scheme.ParameterCodec)
	e, err := executor(request)
	if err != nil {
		return err
	}
	input := strings.Repeat("some text\n", 20_000) // more than any window
	var stdout, stderr bytes.Buffer
	err = e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: strings.NewReader(input), Stdout: &stdout, Stderr: &stderr})
	var code exec.CodeExitError
	if !errors.As(err, &code) || code.Code != 7 {
		return fmt.Errorf("the command ended with %w, want exit code 7", errOrNone(err))
	}
	if stdout.String() != strings.ToUpper(input) || stderr.String() != "problem\n" {
		return fmt.Errorf("%d bytes of output for %d of input, and %q", stdout.Len(), len(input), stderr.String())
	}
	return nil
}

// portForward asks the target's web server, twice.
func portForward(ctx context.Context, config *rest.Config) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return err
	}
	url := client.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name(target).SubResource("portforward").URL()
	stop, ready := make(chan struct{}), make(chan struct{})
	defer close(stop)
	forwarder, err := portforward.New(spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url),
		[]string{"0:8080"}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- forwarder.ForwardPorts() }()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-failed:
		return err
	case <-ready:
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		return err
	}
	for range 2 {
		if err := greeted(ctx, fmt.Sprintf("http://127.0.0.1:%d/", ports[0].Local)); err != nil {
			return err
		}
	}
	return nil
}

func greeted(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || string(body) != "hello\n" {
		return fmt.Errorf("the pod answered %q, %w", body, errOrNone(err))
	}
	return nil
}
