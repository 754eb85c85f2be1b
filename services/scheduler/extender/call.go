package extender

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	configv1 "k8s.io/kube-scheduler/config/v1"
)

const (
	// defaultTimeout is how long an answer may take where nothing is said.
	defaultTimeout = 5 * time.Second
	// maxAnswer is the most that an answer may hold: it can repeat every node.
	maxAnswer = 256 << 20
	// shown is how much of an answer an error repeats.
	shown = 200
)

// caller makes an extender's requests.
type caller struct {
	prefix string
	client *http.Client
}

func newCaller(config *configv1.Extender) (*caller, error) {
	security, err := rest.TLSConfigFor(&rest.Config{TLSClientConfig: clientConfig(config)})
	if err != nil {
		return nil, err
	}
	timeout := config.HTTPTimeout.Duration
	if timeout == 0 {
		timeout = defaultTimeout
	}
	return &caller{
		prefix: strings.TrimRight(config.URLPrefix, "/"),
		client: &http.Client{Timeout: timeout, Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: security, ForceAttemptHTTP2: true,
			MaxIdleConnsPerHost: maxBinds, IdleConnTimeout: time.Minute,
		}},
	}, nil
}

// clientConfig is what the extender's connections are secured by. As with
// kube-scheduler, enableHTTPS without an authority trusts whoever answers.
func clientConfig(config *configv1.Extender) rest.TLSClientConfig {
	var out rest.TLSClientConfig
	if t := config.TLSConfig; t != nil {
		out = rest.TLSClientConfig{
			Insecure: t.Insecure, ServerName: t.ServerName,
			CertFile: t.CertFile, KeyFile: t.KeyFile, CAFile: t.CAFile, CertData: t.CertData, KeyData: t.KeyData, CAData: t.CAData,
		}
	}
	if config.EnableHTTPS && out.CAFile == "" && len(out.CAData) == 0 {
		out.Insecure = true
	}
	return out
}

// call asks one question and reads the answer into it.
func (c *caller) call(ctx context.Context, verb string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("encode the question: %w", err)
	}
	url := c.prefix + "/" + verb
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("read the answer of %s: %w", url, err)
	case len(data) > maxAnswer:
		return fmt.Errorf("the answer of %s is larger than %d bytes", url, maxAnswer)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s answers %s: %q", url, resp.Status, data[:min(len(data), shown)])
	}
	if err := json.Unmarshal(data, answer); err != nil {
		return fmt.Errorf("decode the answer of %s: %w", url, err)
	}
	return nil
}
