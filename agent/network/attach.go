package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"

	"navarch.dev/navarch/internal/atomicfile"
)

// ifName is the name of a pod's link inside its namespace.
const ifName = "eth0"

// maxAddresses bounds what a plugin may give one pod.
const maxAddresses = 16

// MakeNamespace makes the pod's network namespace, so that other steps can
// begin while Attach is under way. It does nothing if it is there.
func (n *Network) MakeNamespace(uid string) (path string, err error) {
	path = n.netnsPath(uid)
	if isNetNS(path) {
		return path, nil
	}
	return path, makeNetNS(path)
}

// AdoptNamespace makes the network namespace of a process the pod's: one that belongs
// to a user namespace can only be made in that. What was the pod's before is gone.
func (n *Network) AdoptNamespace(uid string, pid int) (path string, err error) {
	path = n.netnsPath(uid)
	return path, adoptNetNS(path, pid)
}

// Attach connects a pod: a namespace, an address in it, and the node's ports
// that lead to it. Nothing is left behind if it fails. It is done once: called
// again for a connected pod it returns what was done.
func (n *Network) Attach(ctx context.Context, pod PodRef, ports []HostPort) (Attachment, error) {
	if a, ok, err := n.Attachment(pod.UID); err != nil || ok {
		return a, err
	}
	path, err := n.MakeNamespace(pod.UID)
	if err != nil {
		return Attachment{}, err
	}
	a, err := n.add(ctx, pod, path, ports)
	if err != nil {
		undo := n.Detach(context.WithoutCancel(ctx), pod)
		return Attachment{}, errors.Join(err, undo)
	}
	return a, nil
}

func (n *Network) add(ctx context.Context, pod PodRef, path string, ports []HostPort) (Attachment, error) {
	n.mu.Lock()
	list := n.list
	n.mu.Unlock()
	a := Attachment{NetNS: path, HostPorts: ports, Plugins: list != nil}
	var err error
	if list != nil {
		a.IPs, err = n.runPlugins(ctx, list, pod, path)
	} else {
		a.IPs, err = n.join(pod.UID, path)
	}
	if err != nil {
		return Attachment{}, err
	}
	if err := n.remember(pod.UID, a); err != nil {
		return Attachment{}, err
	}
	if len(ports) > 0 {
		if err := n.syncTable(); err != nil {
			return Attachment{}, fmt.Errorf("open the pod's host ports: %w", err)
		}
	}
	return a, nil
}

// runPlugins connects a pod by an administrator's plugins.
func (n *Network) runPlugins(ctx context.Context, list *libcni.NetworkConfigList, pod PodRef, path string) ([]netip.Addr, error) {
	res, err := n.cni.AddNetworkList(ctx, list, runtimeConf(pod, path))
	if err != nil {
		return nil, fmt.Errorf("connect the pod by CNI network %s: %w", list.Name, err)
	}
	ips, err := podAddresses(res)
	if err != nil {
		return nil, fmt.Errorf("CNI network %s: %w", list.Name, err)
	}
	return ips, nil
}

// join connects a pod to the node's own network.
func (n *Network) join(uid, path string) ([]netip.Addr, error) {
	n.mu.Lock()
	cidrs, mtu := n.cidrs, n.mtu
	ips, err := n.taken.Take(uid, cidrs)
	n.mu.Unlock()
	if len(cidrs) == 0 {
		return nil, ErrNotReady
	}
	if err != nil {
		return nil, fmt.Errorf("connect the pod: %w", err)
	}
	gateways := make([]netip.Addr, 0, len(cidrs))
	for _, cidr := range cidrs {
		gateways = append(gateways, gateway(cidr))
	}
	if err := connect(uid, path, ips, gateways, mtu); err != nil {
		return nil, fmt.Errorf("connect the pod: %w", err)
	}
	return ips, nil
}

// Detach takes a pod out of the network. A pod that is not in it is fine.
func (n *Network) Detach(ctx context.Context, pod PodRef) error {
	a, known, err := n.Attachment(pod.UID)
	if err != nil {
		known = false // an unreadable record is removed like any other
	}
	n.mu.Lock()
	list := n.list
	n.mu.Unlock()
	path := n.netnsPath(pod.UID)
	if list != nil && (known && a.Plugins || !known && isNetNS(path)) {
		if err := n.cni.DelNetworkList(ctx, list, runtimeConf(pod, path)); err != nil {
			return fmt.Errorf("disconnect the pod from CNI network %s: %w", list.Name, err)
		}
	}
	if err := errors.Join(disconnect(pod.UID), removeNetNS(path)); err != nil {
		return err
	}
	if err := os.Remove(n.recordPath(pod.UID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget the pod's network: %w", err)
	}
	n.mu.Lock()
	n.taken.Free(pod.UID)
	n.mu.Unlock()
	if len(a.HostPorts) > 0 {
		return n.syncTable()
	}
	return nil
}

// Attachment returns a pod's place in the network, if it still has one. After
// a reboot its namespace is gone, and so is the attachment.
func (n *Network) Attachment(uid string) (Attachment, bool, error) {
	b, err := os.ReadFile(n.recordPath(uid))
	if errors.Is(err, os.ErrNotExist) {
		return Attachment{}, false, nil
	}
	if err != nil {
		return Attachment{}, false, fmt.Errorf("read the pod's network: %w", err)
	}
	var a Attachment
	if err := json.Unmarshal(b, &a); err != nil {
		return Attachment{}, false, fmt.Errorf("read the pod's network: %w", err)
	}
	return a, isNetNS(a.NetNS), nil
}

func (n *Network) remember(uid string, a Attachment) error {
	b, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encode the pod's network: %w", err)
	}
	if err := atomicfile.Replace(n.recordPath(uid), b, 0o600); err != nil {
		return fmt.Errorf("record the pod's network: %w", err)
	}
	return nil
}

func (n *Network) recordPath(uid string) string { return filepath.Join(n.cfg.StateDir, "pods", uid) }

func runtimeConf(pod PodRef, path string) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{
		ContainerID: pod.UID, NetNS: path, IfName: ifName,
		Args: [][2]string{
			{"IgnoreUnknown", "1"},
			{"K8S_POD_NAMESPACE", pod.Namespace},
			{"K8S_POD_NAME", pod.Name},
			{"K8S_POD_UID", pod.UID},
			{"K8S_POD_INFRA_CONTAINER_ID", pod.UID},
		},
	}
}

// podAddresses returns a pod's addresses from what a plugin answered, which is
// taken for granted by nobody: it must name at least one usable address.
func podAddresses(res types.Result) ([]netip.Addr, error) {
	result, err := types100.NewResultFromResult(res)
	if err != nil {
		return nil, fmt.Errorf("understand the plugin's result: %w", err)
	}
	if len(result.IPs) > maxAddresses {
		return nil, fmt.Errorf("the plugin's result has %d addresses, more than %d", len(result.IPs), maxAddresses)
	}
	var ips []netip.Addr
	for _, c := range result.IPs {
		if c == nil || !inPod(result, c) {
			continue
		}
		ip, ok := netip.AddrFromSlice(c.Address.IP)
		ip = ip.Unmap()
		if !ok || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() {
			return nil, fmt.Errorf("the plugin's result has the unusable address %q", c.Address.String())
		}
		ips = append(ips, ip)
	}
	if len(ips) == 0 {
		return nil, errors.New("the plugin's result has no address for the pod")
	}
	return ips, nil
}

// inPod says whether an address belongs to a link inside the pod. Plugins may
// leave the link out.
func inPod(r *types100.Result, c *types100.IPConfig) bool {
	if c.Interface == nil {
		return true
	}
	i := *c.Interface
	return i >= 0 && i < len(r.Interfaces) && r.Interfaces[i] != nil && r.Interfaces[i].Sandbox != ""
}

// CollectGarbage disconnects every pod that live does not name.
func (n *Network) CollectGarbage(ctx context.Context, live func(uid string) bool) error {
	uids, err := n.known()
	if err != nil {
		return err
	}
	var errs []error
	for _, uid := range uids {
		if live(uid) {
			continue
		}
		n.log.InfoContext(ctx, "disconnecting a pod that is gone", "uid", uid)
		errs = append(errs, n.Detach(ctx, PodRef{UID: uid}))
	}
	return errors.Join(errs...)
}

// known returns the pods that have a namespace or a record.
func (n *Network) known() ([]string, error) {
	seen := make(map[string]bool)
	var uids []string
	for _, dir := range []string{"pods", "netns"} {
		entries, err := os.ReadDir(filepath.Join(n.cfg.StateDir, dir))
		if err != nil {
			return nil, fmt.Errorf("list the pods of the network: %w", err)
		}
		for _, e := range entries {
			if !seen[e.Name()] {
				seen[e.Name()] = true
				uids = append(uids, e.Name())
			}
		}
	}
	return uids, nil
}
