: >/root/acknowledged
number=0
while :; do
    number=$((number + 1))
    kubectl create configmap "write-$number" --from-literal=n=$number >/dev/null && echo "write-$number" >>/root/acknowledged
    [ $number -lt 25 ] || echo "CUT after $number"
done
