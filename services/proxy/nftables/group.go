package nftables

import (
	"fmt"
	"slices"
	"strings"
	"time"

	nf "github.com/google/nftables"

	"navarch.dev/navarch/services/proxy/routes"
)

// putGroup adds a group or gives it other backends. Its chain stays, so that
// the verdicts that lead to it need not change; the map of its backends is
// made anew, so that a packet sees one of them whole, or is dropped.
func (tx *transaction) putGroup(old routes.Group, existed bool, group routes.Group) error {
	chain := tx.table.chain(group.Name)
	tx.conn.AddChain(chain)
	var affinities []nf.SetElement
	if existed {
		if old.Affinity != 0 {
			var err error
			if affinities, err = tx.affinitiesOf(tx.table.affinityMap(old.Name, old.Affinity), group); err != nil {
				return err
			}
		}
		tx.conn.FlushChain(chain)
		tx.deleteSets(old)
	}
	return tx.fillGroup(group, affinities)
}

// fillGroup adds the maps and rules of a group whose chain is empty. The last
// rule is for a packet that is here while a commit takes its map of backends
// away: the client sends it again.
func (tx *transaction) fillGroup(group routes.Group, affinities []nf.SetElement) error {
	backends := tx.table.backendMap(group.Name)
	if err := tx.addSet(backends, backendElements(group)); err != nil {
		return err
	}
	if group.Affinity == 0 {
		tx.addRule(group.Name, rule{}.pick(backends, len(group.Addrs)).dnat())
		tx.addRule(group.Name, rule{}.drop())
		return nil
	}
	clients := tx.table.affinityMap(group.Name, group.Affinity)
	if err := tx.addSet(clients, affinities); err != nil {
		return err
	}
	tx.addRule(group.Name, rule{}.recall(clients).remember(clients, group.Affinity).dnat())
	tx.addRule(group.Name, rule{}.pick(backends, len(group.Addrs)).remember(clients, group.Affinity).dnat())
	// A full map ends the rule before this one where it would remember.
	tx.addRule(group.Name, rule{}.pick(backends, len(group.Addrs)).dnat())
	tx.addRule(group.Name, rule{}.drop())
	return nil
}

func (tx *transaction) deleteGroup(group routes.Group) {
	chain := tx.table.chain(group.Name)
	tx.conn.FlushChain(chain)
	tx.conn.DelChain(chain)
	tx.deleteSets(group)
}

func (tx *transaction) deleteSets(group routes.Group) {
	tx.conn.DelSet(tx.table.backendMap(group.Name))
	if group.Affinity != 0 {
		tx.conn.DelSet(tx.table.affinityMap(group.Name, group.Affinity))
	}
}

// affinities returns, for each group of state that has any, the clients that
// the kernel's present table ties to a backend which the group still has.
func (tx *transaction) affinities(state *routes.State) (map[string][]nf.SetElement, error) {
	exists, err := tx.table.Exists()
	if err != nil || !exists {
		return nil, err
	}
	sets, err := tx.conn.GetSets(tx.table.table)
	if err != nil {
		return nil, fmt.Errorf("list the sets of table %s: %w", tx.table.opts.Name, err)
	}
	out := make(map[string][]nf.SetElement)
	for _, set := range sets {
		name, ok := strings.CutPrefix(set.Name, affinityPrefix)
		if group, stays := state.Groups[name]; ok && stays {
			if out[name], err = tx.affinitiesOf(set, group); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// affinitiesOf returns the clients of a map that may keep their backend in the
// group. One that comes between this and the commit is forgotten, and chooses
// anew.
func (tx *transaction) affinitiesOf(clients *nf.Set, group routes.Group) ([]nf.SetElement, error) {
	if group.Affinity == 0 {
		return nil, nil
	}
	elements, err := tx.conn.GetSetElements(clients)
	if err != nil {
		return nil, fmt.Errorf("read the clients of %s: %w", group.Name, err)
	}
	var kept []nf.SetElement
	for _, e := range elements {
		if backend, ok := backendOf(e.Val); ok && slices.Contains(group.Addrs, backend) {
			kept = append(kept, nf.SetElement{Key: e.Key, Val: e.Val, Timeout: remaining(e, group.Affinity)})
		}
	}
	return kept, nil
}

// remaining is how long a client is still remembered.
func remaining(e nf.SetElement, timeout time.Duration) time.Duration {
	if e.Expires > 0 {
		return min(e.Expires, timeout)
	}
	return timeout
}
