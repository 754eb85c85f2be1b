package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"navarch.dev/navarch/cmd/navarch/localcluster"
	"navarch.dev/navarch/internal/client"
)

const (
	listSize      = 5000
	listsPerRound = 10
	listNamespace = metav1.NamespaceDefault
)

// measureList reads all pods as JSON through the gateway, in turns with the
// same bytes from a handler that only writes them. Both are read by the same
// HTTP client over TLS.
func measureList(ctx context.Context, b *bench) ([]line, error) {
	c, err := b.cluster(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.createPending(ctx, listSize); err != nil {
		return nil, err
	}
	h, err := rest.HTTPClientFor(c.uncompressed())
	if err != nil {
		return nil, fmt.Errorf("make an HTTP client: %w", err)
	}
	address := c.config.Host + "/api/v1/pods"
	body, err := fetch(ctx, h, address)
	if err != nil {
		return nil, err
	}
	ref, err := c.fileReference(ctx, body)
	if err != nil {
		return nil, err
	}
	defer ref.stop()
	var lists, copies samples
	for i := range b.rounds*listsPerRound + 1 {
		list, err := timedRead(ctx, h, address, len(body))
		if err != nil {
			return nil, err
		}
		plain, err := timedRead(ctx, h, "https://"+ref.address, len(body))
		if err != nil {
			return nil, err
		}
		if i > 0 { // the first of each connects
			lists, copies = append(lists, list), append(copies, plain)
		}
	}
	figure := fmt.Sprintf("LIST of %d pods as JSON through the gateway (%.1f MB), p50", listSize, float64(len(body))/1e6)
	return []line{atMost(figure, lists.median(), copies.median(), 4, "the same bytes from a Go HTTPS handler")}, nil
}

// uncompressed is the cluster's configuration for plain bytes.
func (c *cluster) uncompressed() *rest.Config {
	config := rest.CopyConfig(c.config)
	config.DisableCompression = true
	return config
}

// fileReference serves bytes with the certificate that the gateway has.
func (c *cluster) fileReference(ctx context.Context, body []byte) (*reference, error) {
	file := filepath.Join(c.bench.work, "list.json")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		return nil, err
	}
	pki := localcluster.Layout{Dir: c.dir}.PKI()
	return c.bench.reference(ctx, "http", file, filepath.Join(pki, "control-plane.crt"), filepath.Join(pki, "control-plane.key"))
}

// createPending creates pods that no scheduler looks at.
func (c *cluster) createPending(ctx context.Context, count int) error {
	conn, err := c.dialStore()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	store := client.New(conn, "bench")
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(clients)
	for i := range count {
		g.Go(func() error {
			pod := testPod(fmt.Sprintf("listed-%d", i))
			pod.Namespace, pod.Spec.SchedulerName = listNamespace, "nobody"
			pod.Labels = map[string]string{"app": "listed", "part": fmt.Sprint(i % 10)}
			return store.Create(ctx, pod)
		})
	}
	return g.Wait()
}

func get(ctx context.Context, h *http.Client, address string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := h.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("GET %s: %s", address, resp.Status), resp.Body.Close())
	}
	return resp.Body, nil
}

func fetch(ctx context.Context, h *http.Client, address string) ([]byte, error) {
	body, err := get(ctx, h, address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	return io.ReadAll(body)
}

// timedRead reads a body to its end, which must come after about size bytes.
func timedRead(ctx context.Context, h *http.Client, address string, size int) (time.Duration, error) {
	return timed(func() error {
		body, err := get(ctx, h, address)
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, body)
		if err == nil && n < int64(size)*9/10 {
			err = fmt.Errorf("GET %s: %d bytes instead of %d", address, n, size)
		}
		return errors.Join(err, body.Close())
	})
}
