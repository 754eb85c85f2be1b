package audit

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/pflag"
)

// WebhookConfig says where events are sent to, and in which batches.
type WebhookConfig struct {
	// File is a kubeconfig of the receiver; empty: events are sent to nobody.
	File string
	// InitialBackoff is the wait before a batch that was not taken is sent again.
	// Each further one is half as long again.
	InitialBackoff time.Duration
	// BufferSize is how many events wait at most. What comes then is dropped.
	BufferSize int
	// MaxBatchSize events are sent at once, or as many as have come within
	// MaxBatchWait after the first.
	MaxBatchSize int
	MaxBatchWait time.Duration
	// Throttle bounds the batches to QPS per second, and Burst at once.
	Throttle bool
	QPS      float32
	Burst    int
}

// DefaultWebhookConfig returns what kube-apiserver has.
func DefaultWebhookConfig() WebhookConfig {
	return WebhookConfig{
		InitialBackoff: 10 * time.Second, BufferSize: 10000, MaxBatchSize: 400, MaxBatchWait: 30 * time.Second,
		Throttle: true, QPS: 10, Burst: 15,
	}
}

// addFlags adds a flag for each setting, named as kube-apiserver's.
func (c *WebhookConfig) addFlags(fs *pflag.FlagSet) {
	if *c == (WebhookConfig{}) {
		*c = DefaultWebhookConfig()
	}
	fs.StringVar(&c.File, "audit-webhook-config-file", c.File, "kubeconfig of the server that audit events are sent to; empty: none")
	fs.DurationVar(&c.InitialBackoff, "audit-webhook-initial-backoff", c.InitialBackoff, "wait before a batch of audit events that was not taken is sent again")
	fs.IntVar(&c.BufferSize, "audit-webhook-batch-buffer-size", c.BufferSize, "how many audit events wait to be sent at most; further ones are dropped")
	fs.IntVar(&c.MaxBatchSize, "audit-webhook-batch-max-size", c.MaxBatchSize, "how many audit events are sent at once")
	fs.DurationVar(&c.MaxBatchWait, "audit-webhook-batch-max-wait", c.MaxBatchWait, "how long an audit event waits for others to be sent with")
	fs.BoolVar(&c.Throttle, "audit-webhook-batch-throttle-enable", c.Throttle, "bound how often batches of audit events are sent")
	fs.Float32Var(&c.QPS, "audit-webhook-batch-throttle-qps", c.QPS, "how many batches of audit events are sent per second on average")
	fs.IntVar(&c.Burst, "audit-webhook-batch-throttle-burst", c.Burst, "how many batches of audit events are sent at once after a pause")
}

// args returns the flags of addFlags that say the same.
func (c *WebhookConfig) args() []string {
	if c.File == "" {
		return nil
	}
	return []string{
		"--audit-webhook-config-file", c.File, "--audit-webhook-initial-backoff", c.InitialBackoff.String(),
		"--audit-webhook-batch-buffer-size", strconv.Itoa(c.BufferSize),
		"--audit-webhook-batch-max-size", strconv.Itoa(c.MaxBatchSize), "--audit-webhook-batch-max-wait", c.MaxBatchWait.String(),
		"--audit-webhook-batch-throttle-enable=" + strconv.FormatBool(c.Throttle),
		"--audit-webhook-batch-throttle-qps", strconv.FormatFloat(float64(c.QPS), 'g', -1, 32),
		"--audit-webhook-batch-throttle-burst", strconv.Itoa(c.Burst),
	}
}

func (c *WebhookConfig) makeAbsolute() (err error) {
	if c.File == "" {
		return nil
	}
	if c.File, err = filepath.Abs(c.File); err != nil {
		return fmt.Errorf("audit-webhook-config-file: %w", err)
	}
	return nil
}

// check returns what is wrong with the file.
func (c *WebhookConfig) check() error {
	if c.File == "" {
		return nil
	}
	_, err := c.receiver()
	return err
}

func (c *WebhookConfig) receiver() (func(context.Context, []byte) error, error) {
	send, err := receiver(c.File)
	if err != nil {
		return nil, fmt.Errorf("audit-webhook-config-file: %w", err)
	}
	return send, nil
}

func (c *WebhookConfig) validate() error {
	if c.File == "" {
		return nil
	}
	var errs []error
	positive := func(flag string, ok bool, value any) {
		if !ok {
			errs = append(errs, fmt.Errorf("audit-webhook-%s must be positive, but is %v", flag, value))
		}
	}
	positive("initial-backoff", c.InitialBackoff > 0, c.InitialBackoff)
	positive("batch-buffer-size", c.BufferSize > 0, c.BufferSize)
	positive("batch-max-size", c.MaxBatchSize > 0, c.MaxBatchSize)
	positive("batch-max-wait", c.MaxBatchWait > 0, c.MaxBatchWait)
	if c.Throttle {
		positive("batch-throttle-qps", c.QPS > 0, c.QPS)
		positive("batch-throttle-burst", c.Burst > 0, c.Burst)
	}
	if c.MaxBatchSize > c.BufferSize {
		errs = append(errs, fmt.Errorf("audit-webhook-batch-max-size must not be greater than audit-webhook-batch-buffer-size, but is %d, and that %d", c.MaxBatchSize, c.BufferSize))
	}
	return errors.Join(errs...)
}
