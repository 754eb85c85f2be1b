package audit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	// attemptTime bounds one attempt to send a batch.
	attemptTime = 30 * time.Second
	// maxReason is the most of a refusal that is told.
	maxReason = 1 << 10
)

// receiver returns what sends a body to the server of a kubeconfig, which is a
// URL with its path. Any answer but one of success is an error.
func receiver(file string) (send func(context.Context, []byte) error, err error) {
	rules := &clientcmd.ClientConfigLoadingRules{ExplicitPath: file}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		return nil, fmt.Errorf("%s: the cluster's server: %w", file, err)
	}
	if target.Host == "" || target.Scheme != "https" && target.Scheme != "http" {
		return nil, fmt.Errorf("%s: the cluster's server %q is no URL that begins with https:// or http://", file, config.Host)
	}
	config.Timeout = attemptTime
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return func(ctx context.Context, body []byte) error { return post(ctx, client, target, body) }, nil
}

func post(ctx context.Context, client *http.Client, to *url.URL, body []byte) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, */*")
	resp, err := client.Do(r)
	if err != nil {
		return err // it names the method and the URL
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, maxReason))
	if resp.StatusCode < http.StatusOK || resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s answered %s: %s", to.Redacted(), resp.Status, strings.ToValidUTF8(string(said), "?"))
	}
	return err
}
