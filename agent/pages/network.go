package pages

import (
	"context"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"navarch.dev/navarch/agent/runtime"
)

// The types of stats.kubelet.k8s.io/v1alpha1 about networks.
type (
	networkStats struct {
		Time metav1.Time `json:"time"`
		// That of the default interface, if there is one.
		interfaceStats
		Interfaces []interfaceStats `json:"interfaces,omitempty"`
	}
	interfaceStats struct {
		Name     string  `json:"name"`
		RxBytes  *uint64 `json:"rxBytes,omitempty"`
		RxErrors *uint64 `json:"rxErrors,omitempty"`
		TxBytes  *uint64 `json:"txBytes,omitempty"`
		TxErrors *uint64 `json:"txErrors,omitempty"`
	}
)

// defaultInterface is what a kubelet takes for the default one.
const defaultInterface = "eth0"

// addNetworks tells in a summary what came in and went out. What cannot be read is
// left out.
func (p *pages) addNetworks(ctx context.Context, s *summary) {
	if p.Accounts == nil {
		return
	}
	pods, err := p.Accounts.Accounts(ctx)
	if err != nil {
		return
	}
	now := time.Now()
	if own, err := runtime.ReadInterfaces(os.Getpid()); err == nil {
		s.Node.Network = networkOf(own, now)
	}
	networks := make(map[[2]string]*networkStats, len(pods))
	for i := range pods {
		spec := &pods[i].Sandbox.Spec
		networks[[2]string{spec.Namespace, spec.Name}] = networkOf(pods[i].Interfaces, now)
	}
	for i := range s.Pods {
		ref := s.Pods[i].PodRef
		s.Pods[i].Network = networks[[2]string{ref.Namespace, ref.Name}]
	}
}

// networkOf returns nil if there are no interfaces.
func networkOf(interfaces []runtime.InterfaceAccount, at time.Time) *networkStats {
	if len(interfaces) == 0 {
		return nil
	}
	n := &networkStats{Time: metav1.NewTime(at)}
	for _, i := range interfaces {
		s := interfaceStats{Name: i.Name, RxBytes: &i.ReceiveBytes, RxErrors: &i.ReceiveErrors, TxBytes: &i.TransmitBytes, TxErrors: &i.TransmitErrors}
		n.Interfaces = append(n.Interfaces, s)
		if i.Name == defaultInterface {
			n.interfaceStats = s
		}
	}
	return n
}
