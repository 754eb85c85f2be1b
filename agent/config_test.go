package agent

import (
	"strings"
	"testing"
	"time"
)

func TestConfigOfEvictions(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"as it is":         {func(*Config) {}, ""},
		"no thresholds":    {func(c *Config) { c.EvictionHard = "" }, ""},
		"a malformed one":  {func(c *Config) { c.EvictionHard = "imagefs.available<15%" }, `eviction-hard: "imagefs.available<15%": there is no signal`},
		"a malformed more": {func(c *Config) { c.EvictionReclaim = "pid.available<1" }, `eviction-minimum-reclaim: "pid.available<1" is not SIGNAL=QUANTITY`},
		"a time before":    {func(c *Config) { c.PressureRelief = -time.Second }, "eviction-pressure-transition-period -1s is less than 0"},
		"no time in which": {func(c *Config) { c.PressureRelief = 0 }, ""},
	} {
		c := DefaultConfig()
		c.NodeName = "n1"
		tt.change(&c)
		err := c.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}
