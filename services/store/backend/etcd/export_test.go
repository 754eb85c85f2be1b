package etcd

import "time"

// WithRegistrationTTL returns the settings with another time for which etcd keeps a
// Store registered that it does not hear of.
func (c Config) WithRegistrationTTL(ttl time.Duration) Config {
	c.registrationTTL = ttl
	return c
}

// Alone says whether the Store takes its own word for the newest revision.
func (b *Backend) Alone() bool { return time.Duration(b.roster.aloneTill.Load()) > b.roster.now() }
