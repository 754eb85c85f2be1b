package network

import (
	"encoding/json"
	"strings"
	"testing"

	types100 "github.com/containernetworking/cni/pkg/types/100"
)

func TestAddresses(t *testing.T) {
	tests := []struct{ name, result, want, fails string }{
		{name: "one", result: `{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]}`, want: "10.0.0.2"},
		{name: "of the pod's link only", want: "10.0.0.3",
			result: `{"cniVersion":"1.0.0","interfaces":[{"name":"br"},{"name":"eth0","sandbox":"/ns"}],"ips":[{"interface":0,"address":"10.0.0.1/24"},{"interface":1,"address":"10.0.0.3/24"}]}`},
		{name: "none", result: `{"cniVersion":"1.0.0"}`, fails: "no address"},
		{name: "unspecified", result: `{"cniVersion":"1.0.0","ips":[{"address":"0.0.0.0/24"}]}`, fails: "unusable"},
		{name: "a link that is not there", result: `{"cniVersion":"1.0.0","ips":[{"interface":7,"address":"10.0.0.2/24"}]}`, fails: "no address"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, err := types100.NewResult([]byte(tt.result))
			if err != nil {
				t.Fatal(err)
			}
			ips, err := podAddresses(res)
			switch {
			case tt.fails != "":
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("error = %v, want one about %q", err, tt.fails)
				}
			case err != nil || len(ips) != 1 || ips[0].String() != tt.want:
				t.Errorf("addresses = %v, %v; want %s", ips, err, tt.want)
			}
		})
	}
}

func FuzzAddresses(f *testing.F) {
	f.Add([]byte(`{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]}`))
	f.Add([]byte(`{"cniVersion":"1.0.0","interfaces":[null],"ips":[{"interface":0,"address":"10.0.0.2/24"},null]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		res, err := types100.NewResult(b)
		if err != nil {
			return
		}
		ips, err := podAddresses(res)
		if err == nil && (len(ips) == 0 || !ips[0].IsValid()) {
			t.Errorf("accepted %s as %v", b, ips)
		}
	})
}

func FuzzAttachmentRecord(f *testing.F) {
	f.Add([]byte(`{"netns":"/x","ips":["10.0.0.1"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a Attachment
		if json.Unmarshal(b, &a) == nil {
			if _, err := json.Marshal(a); err != nil {
				t.Errorf("a record that was read cannot be written: %v", err)
			}
		}
	})
}
