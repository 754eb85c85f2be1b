package nftables

import (
	"fmt"
	"slices"

	nf "github.com/google/nftables"

	"navarch.dev/navarch/services/proxy/routes"
)

// transaction collects commands that take effect together.
type transaction struct {
	conn  *nf.Conn
	table *Table
}

// replaceTable puts a whole new table in the place of whatever there is. Only
// the clients' affinities are taken over.
func (tx *transaction) replaceTable(state *routes.State) error {
	affinities, err := tx.affinities(state)
	if err != nil {
		return err
	}
	// Adding first makes the deletion succeed without a table, too.
	tx.conn.AddTable(tx.table.table)
	tx.conn.DelTable(tx.table.table)
	tx.conn.AddTable(tx.table.table)
	if err := tx.addFixedPart(); err != nil {
		return err
	}
	for _, group := range state.Groups {
		tx.conn.AddChain(tx.table.chain(group.Name))
		if err := tx.fillGroup(group, affinities[group.Name]); err != nil {
			return err
		}
	}
	return tx.changeElements(routes.NewState(), state)
}

// change sends the difference between two states. Elements go before the
// chains they lead to and come after them.
func (tx *transaction) change(from, to *routes.State) error {
	for name, group := range to.Groups {
		old, existed := from.Groups[name]
		if existed && old.Equal(group) {
			continue
		}
		if err := tx.putGroup(old, existed, group); err != nil {
			return err
		}
	}
	if err := tx.changeElements(from, to); err != nil {
		return err
	}
	for name, group := range from.Groups {
		if _, stays := to.Groups[name]; !stays {
			tx.deleteGroup(group)
		}
	}
	return nil
}

func (tx *transaction) changeElements(from, to *routes.State) error {
	if err := diff(tx, tx.table.targets, from.Targets, to.Targets, targetElement); err != nil {
		return err
	}
	if err := diff(tx, tx.table.inside, from.Inside, to.Inside, targetElement); err != nil {
		return err
	}
	if err := diff(tx, tx.table.masquerade, from.Masquerade, to.Masquerade, frontendElement); err != nil {
		return err
	}
	return diff(tx, tx.table.hairpins, from.Hairpins, to.Hairpins, hairpinElement)
}

// diff sends what turns the elements of from into those of to.
func diff[K, V comparable](tx *transaction, set *nf.Set, from, to map[K]V, element func(K, V) nf.SetElement) error {
	var gone, fresh []nf.SetElement
	for key, value := range from {
		if now, stays := to[key]; !stays || now != value {
			gone = append(gone, element(key, value))
		}
	}
	for key, value := range to {
		if before, existed := from[key]; !existed || before != value {
			fresh = append(fresh, element(key, value))
		}
	}
	if err := inChunks(gone, set, tx.conn.SetDeleteElements); err != nil {
		return err
	}
	return inChunks(fresh, set, tx.conn.SetAddElements)
}

// inChunks sends elements in messages of their own: one message's list of
// elements is an attribute, whose length has 16 bits, and the longest element,
// a verdict with the name of a chain, is about 350 bytes long.
func inChunks(elements []nf.SetElement, set *nf.Set, send func(*nf.Set, []nf.SetElement) error) error {
	for chunk := range slices.Chunk(elements, 150) {
		if err := send(set, chunk); err != nil {
			return fmt.Errorf("encode elements of %s: %w", set.Name, err)
		}
	}
	return nil
}

// addSet adds a set with elements, however many.
func (tx *transaction) addSet(set *nf.Set, elements []nf.SetElement) error {
	if err := tx.conn.AddSet(set, nil); err != nil {
		return fmt.Errorf("encode set %s: %w", set.Name, err)
	}
	return inChunks(elements, set, tx.conn.SetAddElements)
}

func (tx *transaction) addRule(chain string, exprs rule) {
	tx.conn.AddRule(&nf.Rule{Table: tx.table.table, Chain: tx.table.chain(chain), Exprs: exprs})
}
