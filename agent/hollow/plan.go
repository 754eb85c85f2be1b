package hollow

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"math/bits"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// plan is what the settings come to.
type plan struct {
	capacity corev1.ResourceList
	taints   []corev1.Taint
	// nodes and pods are the ranges of addresses; podBits is the length of the
	// prefix of one node's pods.
	nodes, pods netip.Prefix
	podBits     int
}

func (c *Config) plan() (plan, error) {
	var p plan
	var err error
	if p.capacity, err = c.capacity(); err != nil {
		return p, err
	}
	for _, key := range slices.Sorted(maps.Keys(c.Labels)) {
		if err := checkLabel(key, c.Labels[key]); err != nil {
			return p, fmt.Errorf("flag --node-labels: %w", err)
		}
	}
	for _, text := range c.Taints {
		taint, err := parseTaint(text)
		if err != nil {
			return p, fmt.Errorf("flag --node-taints: %w", err)
		}
		p.taints = append(p.taints, taint)
	}
	return p, c.planAddresses(&p)
}

func (c *Config) capacity() (corev1.ResourceList, error) {
	list := corev1.ResourceList{corev1.ResourcePods: *resource.NewQuantity(int64(c.MaxPods), resource.DecimalSI)}
	for _, r := range []struct {
		flag, value string
		name        corev1.ResourceName
	}{
		{"node-cpu", c.CPU, corev1.ResourceCPU},
		{"node-memory", c.Memory, corev1.ResourceMemory},
		{"node-memory", c.Memory, corev1.ResourceEphemeralStorage},
	} {
		q, err := resource.ParseQuantity(r.value)
		if err != nil || q.Sign() <= 0 {
			return nil, fmt.Errorf("flag --%s: %q must be a quantity above 0, such as 8 or 32Gi", r.flag, r.value)
		}
		list[r.name] = q
	}
	return list, nil
}

// planAddresses checks that the ranges have room for all nodes.
func (c *Config) planAddresses(p *plan) (err error) {
	if p.nodes, err = netip.ParsePrefix(c.NodeCIDR); err != nil {
		return fmt.Errorf("flag --node-cidr: %w", err)
	}
	if p.pods, err = netip.ParsePrefix(c.PodCIDR); err != nil {
		return fmt.Errorf("flag --pod-cidr: %w", err)
	}
	p.nodes, p.pods = p.nodes.Masked(), p.pods.Masked()
	// Beside the pods' addresses there are the network's own, the node's and the
	// one for all.
	const others = 3
	p.podBits = p.pods.Addr().BitLen() - bits.Len(uint(c.MaxPods+others-1))
	end := uint64(c.FirstNode) + uint64(c.Nodes)
	if room := room(p.nodes, p.nodes.Addr().BitLen()); end+2 > room {
		return fmt.Errorf("flag --node-cidr: %s has no room for nodes up to number %d", p.nodes, end-1)
	}
	if room := room(p.pods, p.podBits); end > room {
		return fmt.Errorf("flag --pod-cidr: %s has no room for %d nodes of up to %d pods (--nodes, --first-node, --max-pods)", p.pods, end, c.MaxPods)
	}
	return nil
}

// room returns how many networks of a prefix length are in another one.
func room(in netip.Prefix, bits int) uint64 {
	if bits < in.Bits() {
		return 0
	}
	return 1 << min(bits-in.Bits(), 63)
}

// nth returns the n-th network of a prefix length in another one.
func nth(in netip.Prefix, bits int, n uint64) netip.Prefix {
	first := in.Addr().AsSlice()
	sum := new(big.Int).Lsh(new(big.Int).SetUint64(n), uint(in.Addr().BitLen()-bits))
	sum.Add(sum, new(big.Int).SetBytes(first))
	addr, _ := netip.AddrFromSlice(sum.FillBytes(first)) // as long as an address
	return netip.PrefixFrom(addr, bits)
}

func checkLabel(key, value string) error {
	if problems := validation.IsQualifiedName(key); len(problems) > 0 {
		return fmt.Errorf("%q is not a label's key: %s", key, strings.Join(problems, "; "))
	}
	if problems := validation.IsValidLabelValue(value); len(problems) > 0 {
		return fmt.Errorf("%q is not a label's value: %s", value, strings.Join(problems, "; "))
	}
	return nil
}

var taintEffects = []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}

// parseTaint understands KEY=VALUE:EFFECT and KEY:EFFECT.
func parseTaint(text string) (corev1.Taint, error) {
	name, effect, ok := strings.Cut(text, ":")
	key, value, _ := strings.Cut(name, "=")
	if !ok {
		return corev1.Taint{}, fmt.Errorf("%q must be KEY=VALUE:EFFECT", text)
	}
	if !slices.Contains(taintEffects, corev1.TaintEffect(effect)) {
		return corev1.Taint{}, fmt.Errorf("%q has the effect %q, which must be one of %v", text, effect, taintEffects)
	}
	if err := checkLabel(key, value); err != nil {
		return corev1.Taint{}, errors.Join(fmt.Errorf("%q must be KEY=VALUE:EFFECT", text), err)
	}
	return corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(effect)}, nil
}
