package audit

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// Config says what is recorded, and where. The zero value records nothing.
type Config struct {
	// PolicyFile holds a Policy.
	PolicyFile string
	// LogPath is the log's file; "-" is the standard output.
	LogPath string
	// MaxAge is how many days files are kept that are full, MaxBackup how many of
	// them, MaxSize how many megabytes make one full. 0 is for ever, all, and 100.
	MaxAge, MaxBackup, MaxSize int
	// Webhook is a server that events are sent to, beside the log or without.
	Webhook WebhookConfig
}

// AddFlags adds a flag for each setting, named as kube-apiserver's.
func (c *Config) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&c.PolicyFile, "audit-policy-file", c.PolicyFile, "file with an audit.k8s.io/v1 Policy: what is recorded of which requests; empty: nothing")
	fs.StringVar(&c.LogPath, "audit-log-path", c.LogPath, "file of the audit log, a line of JSON per event; - is the standard output")
	fs.IntVar(&c.MaxAge, "audit-log-maxage", c.MaxAge, "how many days full files of the audit log are kept; 0: for ever")
	fs.IntVar(&c.MaxBackup, "audit-log-maxbackup", c.MaxBackup, "how many full files of the audit log are kept; 0: all")
	fs.IntVar(&c.MaxSize, "audit-log-maxsize", c.MaxSize, "how many megabytes make a file of the audit log full; 0: 100")
	c.Webhook.addFlags(fs)
}

// Args returns the flags of AddFlags that say the same, for another process.
func (c *Config) Args() []string {
	if !c.Enabled() {
		return nil
	}
	return append([]string{
		"--audit-policy-file", c.PolicyFile, "--audit-log-path", c.LogPath,
		"--audit-log-maxage", strconv.Itoa(c.MaxAge), "--audit-log-maxbackup", strconv.Itoa(c.MaxBackup), "--audit-log-maxsize", strconv.Itoa(c.MaxSize),
	}, c.Webhook.args()...)
}

// Beside returns the settings for another process of the same machine, whose log is
// a file of its own: audit-NAME.log beside audit.log.
func (c Config) Beside(name string) *Config {
	if c.LogPath != "" && c.LogPath != stdout {
		ext := filepath.Ext(c.LogPath)
		c.LogPath = strings.TrimSuffix(c.LogPath, ext) + "-" + name + ext
	}
	return &c
}

// MakeAbsolute makes the files' paths hold in any folder.
func (c *Config) MakeAbsolute() error {
	var err error
	if c.PolicyFile, err = filepath.Abs(c.PolicyFile); err != nil {
		return fmt.Errorf("audit-policy-file: %w", err)
	}
	if err = c.Webhook.makeAbsolute(); err != nil {
		return err
	}
	if c.LogPath == "" || c.LogPath == stdout {
		return nil
	}
	if c.LogPath, err = filepath.Abs(c.LogPath); err != nil {
		return fmt.Errorf("audit-log-path: %w", err)
	}
	return nil
}

// Check returns what is wrong with the settings and with the files.
func (c *Config) Check() error {
	if err := c.Validate(); err != nil || !c.Enabled() {
		return err
	}
	if _, err := LoadPolicy(c.PolicyFile); err != nil {
		return fmt.Errorf("audit-policy-file: %w", err)
	}
	return c.Webhook.check()
}

// Enabled says whether anything is recorded.
func (c *Config) Enabled() bool { return c.PolicyFile != "" && c.hasBackend() }

// hasBackend says whether somebody takes events.
func (c *Config) hasBackend() bool { return c.LogPath != "" || c.Webhook.File != "" }

// Validate returns what is wrong with the settings.
func (c *Config) Validate() error {
	var errs []error
	if (c.PolicyFile != "") != c.hasBackend() {
		errs = append(errs, errors.New("audit-policy-file, and audit-log-path or audit-webhook-config-file: one is of no use without the other"))
	}
	for name, value := range map[string]int{"maxage": c.MaxAge, "maxbackup": c.MaxBackup, "maxsize": c.MaxSize} {
		if value < 0 {
			errs = append(errs, fmt.Errorf("audit-log-%s must not be negative, but is %d", name, value))
		}
	}
	return errors.Join(append(errs, c.Webhook.validate())...)
}
