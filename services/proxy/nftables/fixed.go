package nftables

import (
	"net/netip"

	nf "github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// The chains that every table has.
const (
	chainPrerouting  = "prerouting"
	chainOutput      = "output"
	chainPostrouting = "postrouting"
	chainGuard       = "guard"
	chainForwarded   = "forwarded"
	chainSent        = "sent"
	chainServices    = "services"
	chainNodePorts   = "nodeports"
	chainReject      = "reject"
)

// addFixedPart adds what does not depend on any Service to an empty table.
func (tx *transaction) addFixedPart() error {
	t := tx.table
	for _, set := range []*nf.Set{t.targets, t.inside, t.masquerade, t.hairpins} {
		if err := tx.addSet(set, nil); err != nil {
			return err
		}
	}
	for _, name := range []string{chainServices, chainNodePorts, chainReject} {
		tx.conn.AddChain(t.chain(name))
	}
	if t.opts.Note != "" {
		tx.conn.AddChain(t.chain(t.opts.Note))
	}
	tx.addBase(chainPrerouting, nf.ChainTypeNAT, nf.ChainHookPrerouting, nf.ChainPriorityNATDest)
	tx.addBase(chainOutput, nf.ChainTypeNAT, nf.ChainHookOutput, nf.ChainPriorityNATDest)
	tx.addBase(chainPostrouting, nf.ChainTypeNAT, nf.ChainHookPostrouting, nf.ChainPriorityNATSource)
	tx.addBase(chainGuard, nf.ChainTypeFilter, nf.ChainHookPrerouting, nf.ChainPriorityRaw)

	tx.addBase(chainForwarded, nf.ChainTypeFilter, nf.ChainHookForward, nf.ChainPriorityFilter)
	tx.addBase(chainSent, nf.ChainTypeFilter, nf.ChainHookOutput, nf.ChainPriorityFilter)

	tx.addRule(chainPrerouting, rule{}.jump(chainServices))
	tx.addRule(chainOutput, rule{}.jump(chainServices))
	tx.addServiceRules()
	tx.addPostroutingRules()
	tx.addRule(chainReject, rule{}.tcp().rejectTCP())
	tx.addRule(chainReject, rule{}.rejectPort())
	for _, services := range t.opts.ServiceCIDRs {
		// A packet that is looked up at the very moment of a commit can miss both
		// what was and what comes. If it left, conntrack would remember that its
		// connection is not translated, and send what is retransmitted after it.
		// What is dropped is not remembered: the retransmission is looked up anew.
		// The node may have cluster addresses of its own, as that of the DNS.
		for _, chain := range []string{chainForwarded, chainSent} {
			tx.addRule(chain, rule{}.addressIn(offsetDestination, services, true).destinationIsForeign().drop())
		}
	}
	if t.opts.LocalhostNodePorts {
		// The kernel lets packets to 127.0.0.0/8 in from other links once node
		// ports answer there; no honest packet is addressed so.
		tx.addRule(chainGuard, rule{}.loopback(expr.MetaKeyIIFNAME, false).
			addressIn(offsetDestination, loopbackPrefix(), true).drop())
	}
	return nil
}

// addServiceRules fills the chains that find a packet's Service.
func (tx *transaction) addServiceRules() {
	t, bit := tx.table, tx.table.opts.MasqueradeMark
	pods := t.opts.PodCIDR
	for _, services := range t.opts.ServiceCIDRs {
		if pods.IsValid() {
			tx.addRule(chainServices, rule{}.addressIn(offsetDestination, services, true).addressIn(offsetSource, pods, false).mark(bit))
		}
	}
	tx.addRule(chainServices, rule{}.frontend().in(t.masquerade).mark(bit))
	if pods.IsValid() {
		tx.addRule(chainServices, rule{}.addressIn(offsetSource, pods, true).frontend().verdict(t.inside))
	}
	tx.addRule(chainServices, rule{}.sourceIsOwn().frontend().verdict(t.inside))
	tx.addRule(chainServices, rule{}.frontend().verdict(t.targets))
	for _, services := range t.opts.ServiceCIDRs {
		tx.addRule(chainServices, rule{}.addressIn(offsetDestination, services, true).goTo(chainReject))
	}
	if !t.opts.LocalhostNodePorts {
		tx.addRule(chainServices, rule{}.addressIn(offsetDestination, loopbackPrefix(), true).accept())
	}
	tx.addRule(chainServices, rule{}.destinationIsOwn().goTo(chainNodePorts))

	tx.addRule(chainNodePorts, rule{}.nodePort().in(t.masquerade).mark(bit))
	if pods.IsValid() {
		tx.addRule(chainNodePorts, rule{}.addressIn(offsetSource, pods, true).nodePort().verdict(t.inside))
	}
	tx.addRule(chainNodePorts, rule{}.sourceIsOwn().nodePort().verdict(t.inside))
	tx.addRule(chainNodePorts, rule{}.nodePort().verdict(t.targets))
}

// addPostroutingRules fills the chain that hides clients.
func (tx *transaction) addPostroutingRules() {
	t := tx.table
	// What stays on the node needs no hiding, and would be hidden behind
	// whatever address the loopback link has.
	tx.addRule(chainPostrouting, rule{}.loopback(expr.MetaKeyOIFNAME, true).accept())
	tx.addRule(chainPostrouting, rule{}.unmark(t.opts.MasqueradeMark).masquerade())
	tx.addRule(chainPostrouting, rule{}.translated().pair().in(t.hairpins).masquerade())
	// An answer to 127.0.0.1 would never come back.
	tx.addRule(chainPostrouting, rule{}.translated().addressIn(offsetSource, loopbackPrefix(), true).masquerade())
	if pods := t.opts.PodCIDR; pods.IsValid() && t.opts.HideBridgedPods {
		tx.addRule(chainPostrouting, rule{}.translated().byBridge().addressIn(offsetSource, pods, true).
			addressIn(offsetDestination, pods, true).masquerade())
	}
}

func (tx *transaction) addBase(name string, kind nf.ChainType, hook *nf.ChainHook, priority *nf.ChainPriority) {
	tx.conn.AddChain(&nf.Chain{Name: name, Table: tx.table.table, Type: kind, Hooknum: hook, Priority: priority})
}

func loopbackPrefix() netip.Prefix { return netip.MustParsePrefix("127.0.0.0/8") }
