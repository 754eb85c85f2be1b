package cache

import (
	"bytes"
	"slices"

	"navarch.dev/navarch/services/store/backend"
)

// Expect tells the cache that a draft is about to be written, so that its
// object need not be decoded again when the backend reports the change. Call
// Settle once the write is over.
func (c *Cache) Expect(d *Draft) {
	c.draftsMu.Lock()
	defer c.draftsMu.Unlock()
	c.drafts[d.key] = append(c.drafts[d.key], d)
}

// Settle tells the cache that the write of a draft is over. A draft that was
// written is kept until its change has been seen.
func (c *Cache) Settle(d *Draft) {
	revision, ready := c.position()
	if v := d.written(); v != nil && ready && v.Revision > revision {
		return
	}
	c.draftsMu.Lock()
	defer c.draftsMu.Unlock()
	c.keepDrafts(d.key, func(x *Draft) bool { return x != d })
}

func (c *Cache) position() (revision int64, ready bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.revision, c.ready
}

// written returns the version that the draft became, nil if it is none yet.
func (d *Draft) written() *Version {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.version
}

// decode returns the version of a written value: the writer's own, where the
// writer is this process, so that nothing is decoded twice.
func (c *Cache) decode(kv backend.KeyValue) (*Version, error) {
	if d := c.claimDraft(kv); d != nil {
		if v := d.At(kv.Revision); v != nil {
			return v, nil
		}
	}
	return Decode(c.kind, kv)
}

// claimDraft returns the draft of a value and forgets the key's drafts that
// have been overtaken by it.
func (c *Cache) claimDraft(kv backend.KeyValue) *Draft {
	c.draftsMu.Lock()
	defer c.draftsMu.Unlock()
	drafts := c.drafts[kv.Key]
	i := slices.IndexFunc(drafts, func(d *Draft) bool { return bytes.Equal(d.value, kv.Value) })
	if i < 0 {
		return nil
	}
	d := drafts[i]
	c.keepDrafts(kv.Key, func(x *Draft) bool { return x != d })
	return d
}

// dropDrafts forgets what a read at a revision has shown already.
func (c *Cache) dropDrafts(revision int64) {
	c.draftsMu.Lock()
	defer c.draftsMu.Unlock()
	for key := range c.drafts {
		c.keepDrafts(key, func(d *Draft) bool {
			v := d.written()
			return v == nil || v.Revision > revision
		})
	}
}

// keepDrafts forgets a key's drafts but those for which keep is true. The
// caller holds draftsMu.
func (c *Cache) keepDrafts(key string, keep func(*Draft) bool) {
	left := slices.DeleteFunc(c.drafts[key], func(d *Draft) bool { return !keep(d) })
	if len(left) == 0 {
		delete(c.drafts, key)
		return
	}
	c.drafts[key] = left
}
