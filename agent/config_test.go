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
		"a soft one": {func(c *Config) {
			c.EvictionSoft, c.EvictionSoftGrace = "memory.available<1Gi", "memory.available=1m30s"
		}, ""},
		"no grace":         {func(c *Config) { c.EvictionSoft = "memory.available<1Gi" }, "eviction-soft-grace-period: required for the signal memory.available"},
		"a malformed soft": {func(c *Config) { c.EvictionSoft = "memory.available" }, `eviction-soft: "memory.available" is not SIGNAL<QUANTITY`},
		"another's grace": {func(c *Config) {
			c.EvictionSoft, c.EvictionSoftGrace = "memory.available<1Gi", "pid.available=1m"
		}, "required for the signal memory.available"},
		"a malformed grace":  {func(c *Config) { c.EvictionSoftGrace = "pid.available=soon" }, `eviction-soft-grace-period: "pid.available=soon": "soon" is not a time above 0`},
		"a grace before":     {func(c *Config) { c.EvictionSoftGrace = "pid.available=-1s" }, `"-1s" is not a time above 0`},
		"a pod's that ended": {func(c *Config) { c.EvictionPodGrace = -1 }, "eviction-max-pod-grace-period -1 is less than 0"},
		"a time before":      {func(c *Config) { c.PressureRelief = -time.Second }, "eviction-pressure-transition-period -1s is less than 0"},
		"no time in which":   {func(c *Config) { c.PressureRelief = 0 }, ""},
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
